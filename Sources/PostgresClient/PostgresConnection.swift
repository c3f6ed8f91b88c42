internal import CLibpq

/// The guarantees of a transaction against others that run beside it.
public enum PostgresIsolation: String, Sendable {
    case readCommitted = "READ COMMITTED"
    case repeatableRead = "REPEATABLE READ"
    case serializable = "SERIALIZABLE"
}

/// One connection, lent out by ``PostgresPool`` for the length of a closure and not to be kept beyond it.
///
/// The actor's executor is a thread of its own that blocks in libpq, so that a slow database takes no thread from
/// Swift's pool. Statements run one after the other.
public actor PostgresConnection {
    private nonisolated let thread: ConnectionThread
    private let configuration: PostgresConfiguration
    private let gate: ConnectGate
    private let waker = Waker()
    private var session: LibpqSession?

    public nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

    init(configuration: PostgresConfiguration, gate: ConnectGate) throws(PostgresError) {
        self.thread = try ConnectionThread()
        self.configuration = configuration
        self.gate = gate
    }

    deinit { thread.stop() }

    /// Runs one statement, prepared on this connection at its first use. A task that is cancelled meanwhile has the
    /// server cancel the statement and gets `.cancelled`, unless the statement was quicker.
    /// - Parameter timeout: instead of ``PostgresConfiguration/statementTimeout``.
    public func query(_ query: PostgresQuery, timeout: Duration? = nil) async throws(PostgresError) -> PostgresRows {
        try await run(timeout) { (session, limit) throws(PostgresError) in try session.query(query, limit) }
    }

    /// Runs any number of statements, separated by semicolons, without parameters; all or none take effect. The SQL is
    /// taken as it is: the caller vouches for it.
    public func execute(script: String, timeout: Duration? = nil) async throws(PostgresError) {
        _ = try await run(timeout) { (session, limit) throws(PostgresError) in try session.script(script, limit) }
    }

    /// Whether a transaction is open.
    var isInTransaction: Bool { session?.isInTransaction ?? false }

    /// Called before a loan: connects if that is needed. Within a loan nothing reconnects, since a transaction or the
    /// session's settings would be gone without notice.
    func open() throws(PostgresError) {
        if let session, session.isUsable { return }
        session = nil
        session = try gate.open { () throws(PostgresError) in try LibpqSession(configuration, waker: waker) }
    }

    /// Called after a loan: a transaction that is still open is rolled back by dropping the connection.
    func settle() {
        if let session, !session.isUsable || session.isInTransaction { self.session = nil }
    }

    /// A whole loan for one statement.
    func single(_ query: PostgresQuery, _ timeout: Duration?) async throws(PostgresError) -> PostgresRows {
        try open()
        defer { settle() }
        return try await self.query(query, timeout: timeout)
    }

    func begin(_ isolation: PostgresIsolation) async throws(PostgresError) {
        try open()
        try await execute(script: "BEGIN ISOLATION LEVEL \(isolation.rawValue)")
    }

    func commit() throws(PostgresError) {
        guard let session, session.isUsable else {
            throw PostgresError(.connectionLost, "the connection was lost before COMMIT; nothing was committed")
        }
        let answer: LibpqResult
        do {
            answer = try timed { () throws(PostgresError) in try session.script("COMMIT", limit(nil, flag: nil)) }
        } catch {
            guard error.code == .connectionLost else { throw error }
            throw PostgresError(.unknownOutcome, "the answer to COMMIT was lost: \(error.message)")
        }
        guard String(cString: PQcmdStatus(answer.pointer)) == "COMMIT" else {
            throw PostgresError(.transactionAborted, "a statement of the transaction had failed; it was rolled back")
        }
    }

    /// What ROLLBACK cannot end, ``settle()`` does.
    func rollback() {
        guard let session, session.isUsable, session.isInTransaction else { return }
        _ = try? session.script("ROLLBACK", limit(nil, flag: nil))
    }

    private func limit(_ timeout: Duration?, flag: CancellationFlag?) -> StatementLimit {
        StatementLimit(
            timeout: timeout ?? configuration.statementTimeout,
            grace: configuration.cancelGrace,
            flag: flag
        )
    }

    private func run(
        _ timeout: Duration?,
        _ body: (LibpqSession, StatementLimit) throws(PostgresError) -> LibpqResult
    ) async throws(PostgresError) -> PostgresRows {
        guard let session else {
            throw PostgresError(.connectionLost, "the connection is not open: its loan has ended")
        }
        let flag = CancellationFlag(waker: waker)
        let limit = limit(timeout, flag: flag)
        let outcome = await withTaskCancellationHandler {
            perform(body, session, limit)
        } onCancel: {
            flag.set()
        }
        return try outcome.get()
    }

    /// A method of the actor, so that the closure that calls it is the actor's too and stays on its thread: one that
    /// does not name `self` would block a thread of Swift's pool in libpq.
    private func perform(
        _ body: (LibpqSession, StatementLimit) throws(PostgresError) -> LibpqResult,
        _ session: LibpqSession,
        _ limit: StatementLimit
    ) -> Result<PostgresRows, PostgresError> {
        Result { () throws(PostgresError) in
            PostgresRows(result: try timed { () throws(PostgresError) in try body(session, limit) })
        }
    }

    private func timed(_ body: () throws(PostgresError) -> LibpqResult) throws(PostgresError) -> LibpqResult {
        guard let onStatement = configuration.onStatement else { return try body() }
        let begun = ContinuousClock.now
        defer { onStatement(.now - begun) }
        return try body()
    }
}
