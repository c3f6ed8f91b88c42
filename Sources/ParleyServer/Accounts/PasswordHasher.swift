import NIOCore
import NIOPosix
import ParleyWire
import Synchronization

/// Hashes and verifies passwords on a few threads of its own, off the event loops.
///
/// Both the threads and the queue before them are bounded: a flood of sign-ins is refused with `overloaded` at once
/// instead of holding memory and answering after everybody has given up.
public final class PasswordHasher: Sendable {
    public struct Configuration: Sendable {
        /// The cost of new hashes. A password stored at another cost is hashed anew at the next sign-in.
        public var cost: ScryptCost
        /// Threads, each holding one hash's memory (128 MiB at full cost). Default: half of the cores.
        public var threads: Int
        /// Hashes waiting for a thread, beyond which more are refused. Default: about ten seconds of work.
        public var waiting: Int

        public init(cost: ScryptCost = .full, threads: Int? = nil, waiting: Int? = nil) {
            self.cost = cost
            self.threads = threads ?? max(1, System.coreCount / 2)
            // A core fills roughly 400 MiB a second, whatever the cost.
            self.waiting = waiting ?? Int(min(max((4 << 30) / cost.memoryBound, 16), 4096)) * self.threads
        }
    }

    public struct Verification: Sendable, Equatable {
        public var matches: Bool
        /// The password is right, but stored at another cost than the configured one.
        public var needsRehash: Bool
    }

    private let configuration: Configuration
    private let pool: NIOThreadPool
    private let pending = Atomic<Int>(0)

    public init(configuration: Configuration = Configuration()) {
        self.configuration = configuration
        self.pool = NIOThreadPool(numberOfThreads: configuration.threads)
        pool.start()
    }

    /// Ends the threads; call it once nothing hashes any more.
    public func shutdown() async throws {
        try await pool.shutdownGracefully()
    }

    /// - Returns: a PHC string with a random salt.
    /// - Throws: `HTTPProblem` `overloaded` where too many wait.
    public func hash(_ password: String) async throws -> String {
        let cost = configuration.cost
        return try await run { PasswordHash(password: Array(password.utf8), cost: cost)?.description }
    }

    /// Compares with a stored PHC string. Without one (the user is unknown), or with one that cannot be read, it does
    /// the same work and says no, so that the time of the answer does not tell whether the user exists.
    ///
    /// - Throws: `HTTPProblem` `overloaded` where too many wait.
    public func verify(_ password: String, against stored: String?) async throws -> Verification {
        let cost = configuration.cost
        return try await run {
            let bytes = Array(password.utf8)
            guard let stored = stored.flatMap(PasswordHash.init) else {
                return PasswordHash(password: bytes, cost: cost).map { _ in
                    Verification(matches: false, needsRehash: false)
                }
            }
            return stored.matches(password: bytes).map {
                Verification(matches: $0, needsRehash: $0 && stored.cost != cost)
            }
        }
    }

    /// How much of what may wait does.
    var load: Double {
        let waiting = pending.load(ordering: .relaxed) - configuration.threads
        return Double(max(0, waiting)) / Double(max(1, configuration.waiting))
    }

    private func run<R: Sendable>(_ work: @escaping @Sendable () -> R?) async throws -> R {
        let position = pending.wrappingAdd(1, ordering: .relaxed).newValue
        defer { pending.wrappingSubtract(1, ordering: .relaxed) }
        guard position <= configuration.threads + configuration.waiting else {
            throw HTTPProblem(.overloaded, "Too many sign-ins at once.", retryMilliseconds: 2000)
        }
        guard let result = try await pool.runIfActive(work) else {
            throw HTTPProblem(.unavailable, "There is not enough memory to check a password.", retryMilliseconds: 2000)
        }
        return result
    }
}
