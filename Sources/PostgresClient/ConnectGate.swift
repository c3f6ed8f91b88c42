internal import Logging
internal import Synchronization

/// When a server that could not be reached may be tried again: 50 ms after the first failure, then twice as long each
/// time up to 2 s, with up to half of that as jitter on top.
struct Backoff {
    private(set) var failures = 0
    private var retryAt: ContinuousClock.Instant?
    private var error: PostgresError?

    /// The error of the last attempt, while it is too early for another.
    func refusal(at now: ContinuousClock.Instant) -> PostgresError? {
        guard let retryAt, now < retryAt else { return nil }
        return error
    }

    /// - Parameter jitter: 0 to 1.
    mutating func failed(_ error: PostgresError, at now: ContinuousClock.Instant, jitter: Double) {
        self.error = error
        // Attempts that ran side by side are one failure.
        if let retryAt, now < retryAt { return }
        failures += 1
        let delay = Duration.milliseconds(min(2000, 50 << min(failures - 1, 6)))
        retryAt = now + delay + delay * (jitter / 2)
    }

    mutating func succeeded() {
        self = Backoff()
    }
}

/// The connections of a pool share what they know about the server: while it cannot be reached, callers get the error
/// at once, and the server is not stormed when it comes back.
final class ConnectGate: Sendable {
    private let backoff = Mutex(Backoff())
    private let logger: Logger

    init(logger: Logger) {
        self.logger = logger
    }

    func open(_ connect: () throws(PostgresError) -> LibpqSession) throws(PostgresError) -> LibpqSession {
        if let refusal = backoff.withLock({ $0.refusal(at: .now) }) { throw refusal }
        do {
            let session = try connect()
            let failures = backoff.withLock { backoff in
                defer { backoff.succeeded() }
                return backoff.failures
            }
            if failures > 0 { logger.info("PostgreSQL is back", metadata: ["failures": "\(failures)"]) }
            return session
        } catch {
            let jitter = Double.random(in: 0...1)
            let failures = backoff.withLock { backoff in
                backoff.failed(error, at: .now, jitter: jitter)
                return backoff.failures
            }
            if failures == 1 { logger.warning("\(error)") }
            throw error
        }
    }
}
