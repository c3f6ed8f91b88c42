internal import CLibpq
internal import Glibc

/// One open libpq connection. Blocks its thread; used by the actor that owns it alone.
final class LibpqSession {
    private struct StatementKey: Hashable {
        var sql: String
        var types: [UInt32]
    }

    private static let preparedStatementLimit = 512

    private let connection: OpaquePointer
    private let waker: Waker
    private var prepared: [StatementKey: String] = [:]
    private var preparedCount = 0
    private var cancelRequest: CancelRequest?
    /// Set when the protocol's state is unknown: nothing more may be sent.
    private var isBroken = false

    /// Connects. Throws `.connectionFailed` with host, port and database.
    init(_ configuration: PostgresConfiguration, waker: Waker) throws(PostgresError) {
        try configuration.validate()
        let options = configuration.options
        let words = (options.map(\.key) + options.map(\.value)).map { strdup($0) }
        defer { words.forEach { free($0) } }
        let keywords = words[..<options.count].map { UnsafePointer($0) } + [nil]
        let values = words[options.count...].map { UnsafePointer($0) } + [nil]
        guard let connection = PQconnectdbParams(keywords, values, 1) else {
            throw PostgresError(.connectionFailed, "no memory for a PostgreSQL connection")
        }
        guard PQstatus(connection) == CONNECTION_OK else {
            defer { PQfinish(connection) }
            let place =
                "\(text(PQhost(connection))):\(text(PQport(connection))), database \"\(text(PQdb(connection)))\""
            throw PostgresError(
                .connectionFailed,
                "PostgreSQL at \(place) cannot be reached: \(trimmed(PQerrorMessage(connection)))"
            )
        }
        PQsetnonblocking(connection, 1)
        PQsetNoticeProcessor(connection, { _, _ in }, nil)
        self.connection = connection
        self.waker = waker
    }

    deinit { PQfinish(connection) }

    /// False once the server has closed the connection, which an idle socket shows without a round trip.
    var isUsable: Bool {
        guard !isBroken, PQstatus(connection) == CONNECTION_OK else { return false }
        var descriptor = pollfd(fd: PQsocket(connection), events: Int16(POLLIN), revents: 0)
        guard poll(&descriptor, 1, 0) == 0 else {
            // A parameter's change or a notice may lie there too; end of file is what makes libpq fail.
            return PQconsumeInput(connection) == 1 && PQstatus(connection) == CONNECTION_OK
        }
        return true
    }

    var isInTransaction: Bool {
        PQtransactionStatus(connection) == PQTRANS_INTRANS || PQtransactionStatus(connection) == PQTRANS_INERROR
    }

    /// One statement with parameters, prepared on first use.
    func query(_ query: PostgresQuery, _ limit: StatementLimit) throws(PostgresError) -> LibpqResult {
        let key = StatementKey(sql: query.sql, types: query.parameters.map(\.oid))
        guard let name = prepared[key] else { return try execute(query, prepare(key, limit), limit) }
        let wasInTransaction = isInTransaction
        do throws(PostgresError) {
            return try execute(query, name, limit)
        } catch {
            // A changed table (0A000) or DISCARD ALL (26000) outdates the prepared statement; it did not run.
            guard error.sqlState == "0A000" || error.sqlState == "26000" else { throw error }
            prepared[key] = nil
            guard !wasInTransaction else { throw error }
            return try execute(query, prepare(key, limit), limit)
        }
    }

    /// Any number of statements without parameters, in one round trip; gives the last one's answer.
    func script(_ sql: String, _ limit: StatementLimit) throws(PostgresError) -> LibpqResult {
        try exchange(limit) { PQsendQuery($0, sql) }
    }

    private func prepare(_ key: StatementKey, _ limit: StatementLimit) throws(PostgresError) -> String {
        if prepared.count >= Self.preparedStatementLimit, !isInTransaction {
            _ = try script("DEALLOCATE ALL", limit)
            prepared = [:]
        }
        preparedCount += 1
        let name = "s\(preparedCount)"
        _ = try exchange(limit) { PQsendPrepare($0, name, key.sql, Int32(key.types.count), key.types) }
        prepared[key] = name
        return name
    }

    private func execute(
        _ query: PostgresQuery,
        _ name: String,
        _ limit: StatementLimit
    ) throws(PostgresError) -> LibpqResult {
        for parameter in query.parameters where parameter.format == 0 {
            // libpq would end the text at the NUL without a word.
            if let range = parameter.range, query.bytes[range].contains(0) {
                throw PostgresError(.invalidStatement, "text with a NUL character cannot be stored")
            }
        }
        return try exchange(limit) { connection in
            query.bytes.withUnsafeBytes { bytes in
                PQsendQueryPrepared(
                    connection,
                    name,
                    Int32(query.parameters.count),
                    query.parameters.map { parameter in
                        parameter.range.flatMap { bytes.baseAddress?.advanced(by: $0.lowerBound) }?
                            .assumingMemoryBound(to: CChar.self)
                    },
                    query.parameters.map { Int32($0.range?.count ?? 0) },
                    query.parameters.map(\.format),
                    1
                )
            }
        }
    }

    /// Sends by `send` and waits for the server to be ready again. Throws the first error among the answers.
    private func exchange(
        _ limit: StatementLimit,
        _ send: (OpaquePointer) -> Int32
    ) throws(PostgresError) -> LibpqResult {
        guard !isBroken, PQstatus(connection) == CONNECTION_OK else {
            throw PostgresError(.connectionLost, "the connection to PostgreSQL was lost by an earlier statement")
        }
        var limit = limit
        if limit.flag?.isSet == true {
            throw PostgresError(.cancelled, "the task was cancelled before the statement was sent")
        }
        guard send(connection) == 1 else { throw failure(.invalidStatement) }
        var answer: LibpqResult?
        var error: PostgresError?
        do {
            try flush(&limit)
            while let result = try nextResult(&limit) {
                error = error ?? serverError(result, limit)
                answer = result
                if isBroken { break }
            }
            try settle(&limit)
        } catch {
            isBroken = true
            throw error
        }
        if var error {
            // Such as "terminating connection due to administrator command", and then the end of the connection.
            if PQstatus(connection) != CONNECTION_OK { error.code = .connectionLost }
            throw error
        }
        guard let answer else { throw failure(.connectionLost) }
        return answer
    }

    private func flush(_ limit: inout StatementLimit) throws(PostgresError) {
        while true {
            switch PQflush(connection) {
            case 0: return
            case 1:
                // The server may be unable to read on before what it writes has been read.
                try wait(POLLIN | POLLOUT, &limit)
                guard PQconsumeInput(connection) == 1 else { throw failure(.connectionLost) }
            default: throw failure(.connectionLost)
            }
        }
    }

    private func nextResult(_ limit: inout StatementLimit) throws(PostgresError) -> LibpqResult? {
        while PQisBusy(connection) == 1 {
            try wait(POLLIN, &limit)
            // A failure here shows in the result too, with the server's last words where there were some.
            if PQconsumeInput(connection) == 0 { break }
        }
        return PQgetResult(connection).map { LibpqResult($0) }
    }

    /// A cancel request that is still under way would hit the next statement: waits for it.
    private func settle(_ limit: inout StatementLimit) throws(PostgresError) {
        while let request = cancelRequest, !request.isSent { try wait(0, &limit) }
        cancelRequest = nil
    }

    /// Waits until the socket is ready, or the waker woke up (then nothing is ready, and the caller looks again).
    private func wait(_ events: Int32, _ limit: inout StatementLimit) throws(PostgresError) {
        let patience: Duration
        switch limit.check(at: .now) {
        case .wait(let duration): patience = duration
        case .cancel:
            cancelRequest = CancelRequest(connection: connection, waker: waker)
            patience = limit.grace
        case .giveUp: throw PostgresError(.connectionLost, "PostgreSQL gave no answer in time")
        }
        let (seconds, attoseconds) = patience.components
        let milliseconds = min(seconds, 3600) * 1000 + attoseconds / 1_000_000_000_000_000 + 1
        var descriptors = [
            pollfd(fd: events == 0 ? -1 : PQsocket(connection), events: Int16(events), revents: 0),
            pollfd(fd: waker.descriptor, events: Int16(POLLIN), revents: 0),
        ]
        guard poll(&descriptors, 2, Int32(milliseconds)) > 0 else { return }
        if descriptors[1].revents != 0 { waker.drain() }
    }

    private func serverError(_ result: LibpqResult, _ limit: StatementLimit) -> PostgresError? {
        func field(_ code: Int32) -> String? { PQresultErrorField(result.pointer, code).map { String(cString: $0) } }
        switch PQresultStatus(result.pointer) {
        case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY: return nil
        case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
            isBroken = true
            return PostgresError(.invalidStatement, "COPY is not available here")
        default: break
        }
        let sqlState = field(Int32(UInt8(ascii: "C")))
        let code: PostgresError.Code =
            switch sqlState {
            case nil: .connectionLost
            case "57014": limit.reason ?? .server
            case "40001", "40P01": .serializationFailure
            default: .server
            }
        return PostgresError(
            code,
            field(Int32(UInt8(ascii: "M"))) ?? trimmed(PQresultErrorMessage(result.pointer)),
            sqlState: sqlState,
            constraint: field(Int32(UInt8(ascii: "n")))
        )
    }

    private func failure(_ code: PostgresError.Code) -> PostgresError {
        let lost = PQstatus(connection) != CONNECTION_OK
        return PostgresError(lost ? .connectionLost : code, trimmed(PQerrorMessage(connection)))
    }
}

private func text(_ string: UnsafePointer<CChar>?) -> String { string.map { String(cString: $0) } ?? "" }

/// libpq ends its messages with a new line and has several in one.
private func trimmed(_ message: UnsafePointer<CChar>?) -> String {
    text(message).split(whereSeparator: \.isNewline).joined(separator: " ")
}
