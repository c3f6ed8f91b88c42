public import Logging
internal import Synchronization

/// A bounded set of connections to one database. Connections are opened when they are needed and reopened when they
/// were lost: a statement under way then fails with `.connectionLost`, a later one finds a new connection or gets
/// `.connectionFailed`.
public final class PostgresPool: Sendable {
    private typealias Outcome = Result<PostgresConnection, PostgresError>

    private let configuration: PostgresConfiguration
    private let logger: Logger
    private let gate: ConnectGate
    private let state: Mutex<PoolState<PostgresConnection, CheckedContinuation<Outcome, Never>>>

    /// Opens nothing yet.
    public init(configuration: PostgresConfiguration, logger: Logger = Logger(label: "postgres")) {
        self.configuration = configuration
        self.logger = logger
        self.gate = ConnectGate(logger: logger)
        self.state = Mutex(PoolState(limit: max(1, configuration.connections)))
    }

    /// How many connections there may be.
    public var connections: Int { state.withLock(\.limit) }
    /// How many callers wait for one.
    public var waiting: Int { state.withLock(\.waiting) }

    /// Runs one statement on whichever connection is free.
    /// - Parameter timeout: instead of ``PostgresConfiguration/statementTimeout``.
    public func query(_ query: PostgresQuery, timeout: Duration? = nil) async throws(PostgresError) -> PostgresRows {
        let connection = try await acquire()
        defer { release(connection) }
        return try await connection.single(query, timeout)
    }

    /// Lends one connection to `body`. A transaction that `body` leaves open is rolled back.
    public func withConnection<R: Sendable>(
        _ body: @Sendable (PostgresConnection) async throws -> R
    ) async throws -> R {
        let connection = try await acquire()
        defer { release(connection) }
        do {
            try await connection.open()
            let value = try await body(connection)
            await connection.settle()
            return value
        } catch {
            await connection.settle()
            throw error
        }
    }

    /// Runs `body` between BEGIN and COMMIT; when it throws, the transaction is rolled back and the error passed on.
    ///
    /// A cancelled task's statements throw `.cancelled`; a body that ends well is committed all the same.
    /// Throws `.unknownOutcome` if the answer to COMMIT was lost, `.transactionAborted` if `body` went on after a
    /// statement had failed.
    /// - Parameter attempts: how often `body` may run in all when the server answers `.serializationFailure`.
    public func transaction<R: Sendable>(
        isolation: PostgresIsolation = .readCommitted,
        attempts: Int = 1,
        _ body: @Sendable (PostgresConnection) async throws -> R
    ) async throws -> R {
        let connection = try await acquire()
        defer { release(connection) }
        var attempt = 1
        while true {
            do {
                try await connection.begin(isolation)
                let value = try await body(connection)
                try await connection.commit()
                return value
            } catch {
                await connection.rollback()
                await connection.settle()
                let failure = error as? PostgresError
                guard failure?.code == .serializationFailure, attempt < attempts else { throw error }
                attempt += 1
            }
        }
    }

    /// Refuses new callers, then waits for the connections that are lent out to come back.
    /// - Parameter grace: how long to wait for them. Those that come later are closed then.
    public func shutdown(grace: Duration = .seconds(10)) async {
        let waiters = state.withLock { $0.close() }
        for waiter in waiters { waiter.resume(returning: .failure(Self.closed)) }
        let deadline = ContinuousClock.now + grace
        while state.withLock({ $0.leased }) > 0 {
            guard ContinuousClock.now < deadline, (try? await Task.sleep(for: .milliseconds(10))) != nil else {
                logger.warning("PostgreSQL connections are still in use at shutdown")
                return
            }
        }
    }

    /// Connections that are lent out, and callers that wait for one.
    public var usage: (inUse: Int, waiting: Int) { state.withLock { ($0.leased, $0.waiting) } }

    private static let closed = PostgresError(.poolClosed, "the pool is shut down")

    private func acquire() async throws(PostgresError) -> PostgresConnection {
        let acquisition = state.withLock { $0.acquire() }
        guard case .wait(let ticket) = acquisition else { return try settle(acquisition).get() }
        let timer = Task {
            try await Task.sleep(for: configuration.acquireTimeout)
            let message = "all \(configuration.connections) connections stayed busy for \(configuration.acquireTimeout)"
            abandon(ticket, PostgresError(.acquireTimeout, message))
        }
        defer { timer.cancel() }
        let cancelled = PostgresError(.cancelled, "the task was cancelled while it waited for a connection")
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let acquisition = state.withLock { $0.enqueue(continuation, ticket: ticket) }
                if case .wait = acquisition {
                    // The cancellation handler may have run before there was a waiter to abandon.
                    if Task.isCancelled { abandon(ticket, cancelled) }
                } else {
                    continuation.resume(returning: settle(acquisition))
                }
            }
        } onCancel: {
            abandon(ticket, cancelled)
        }
        return try outcome.get()
    }

    /// What an acquisition other than `.wait` comes to.
    private func settle(_ acquisition: PoolState<PostgresConnection, CheckedContinuation<Outcome, Never>>.Acquisition)
        -> Outcome
    {
        switch acquisition {
        case .lease(let connection): return .success(connection)
        case .closed: return .failure(Self.closed)
        case .wait: preconditionFailure("a waiter is answered later")
        case .open:
            return Result { () throws(PostgresError) in
                do throws(PostgresError) {
                    return try PostgresConnection(configuration: configuration, gate: gate)
                } catch {
                    state.withLock { $0.openFailed() }
                    throw error
                }
            }
        }
    }

    private func abandon(_ ticket: UInt64, _ error: PostgresError) {
        state.withLock { $0.abandon(ticket: ticket) }?.resume(returning: .failure(error))
    }

    private func release(_ connection: PostgresConnection) {
        state.withLock { $0.release(connection) }?.resume(returning: .success(connection))
    }
}
