import Logging
import NIOCore
import ParleyCore
import ParleyWire
import RedisClient
import Synchronization

/// Publishes changes on the channels of the user's friends.
///
/// What cannot be published now is tried again; of a user the newest change alone. What is lost nevertheless, watchers
/// see when they read the picture again.
final class PresencePublisher: Sendable {
    private struct State {
        var waiting: [UserID: PresenceState] = [:]
        var isRunning = false
        /// Changes that were told.
        var published = 0
    }

    private let store: PresenceStore
    private let volatile: RedisClient
    private let logger: Logger
    private let state = Mutex(State())

    /// Users whose friends one query asks for.
    private static let batch = 200
    /// Publications on their way at once: all gateways pass them on before the next message.
    private static let flight = 500
    /// Changes that may wait; beyond, the newest is dropped: presence is the first to degrade.
    private static let limit = 50_000

    init(store: PresenceStore, volatile: RedisClient, logger: Logger) {
        self.store = store
        self.volatile = volatile
        self.logger = logger
    }

    var published: Int { state.withLock { $0.published } }

    func publish(_ change: PresenceChange) {
        let mustRun = state.withLock { state in
            Self.add(change.user, change.state, to: &state)
            defer { state.isRunning = true }
            return !state.isRunning
        }
        if mustRun { Task { await run() } }
    }

    private static func add(_ user: UserID, _ new: PresenceState, to state: inout State) {
        guard state.waiting.count < limit || state.waiting[user] != nil else { return }
        if new.version > state.waiting[user]?.version ?? -1 { state.waiting[user] = new }
    }

    private func run() async {
        while true {
            let batch: [UserID: PresenceState] = state.withLock { state in
                let batch = Dictionary(
                    uniqueKeysWithValues: state.waiting.prefix(Self.batch).map { ($0.key, $0.value) }
                )
                for user in batch.keys { state.waiting[user] = nil }
                if batch.isEmpty { state.isRunning = false }
                return batch
            }
            guard !batch.isEmpty else { return }
            do {
                try await publish(batch)
                state.withLock { $0.published += batch.count }
            } catch {
                logger.warning("presence not published", metadata: ["error": "\(error)", "users": "\(batch.count)"])
                state.withLock { state in for (user, old) in batch { Self.add(user, old, to: &state) } }
                try? await Task.sleep(for: .seconds(1))
            }
        }
    }

    private func publish(_ batch: [UserID: PresenceState]) async throws {
        let pairs = try await store.friends(of: Array(batch.keys))
        for start in stride(from: 0, to: pairs.count, by: Self.flight) {
            let commands = pairs[start..<min(start + Self.flight, pairs.count)].compactMap { user, friend in
                batch[user].map {
                    RedisCommand(
                        "PUBLISH",
                        FriendPair(user, friend).channel,
                        PresenceChange(user: user, state: $0).payload
                    )
                }
            }
            let begin = ContinuousClock.now
            try await send(commands)
            // As much time for everything else.
            try await Task.sleep(for: .now - begin)
        }
    }

    /// Pipelined on one connection.
    private func send(_ commands: [RedisCommand]) async throws {
        guard let connection = volatile.connections.randomElement() else { return }
        let eventLoop = connection.eventLoop
        let sent = eventLoop.makePromise(of: Void.self)
        eventLoop.execute {
            var (missing, failure) = (commands.count, RedisError?.none)
            if missing == 0 { sent.succeed() }
            for command in commands {
                // Heard twice it is the same version.
                connection.send(command, repeatable: true) { result in
                    missing -= 1
                    if case .failure(let error) = result { failure = error }
                    guard missing == 0 else { return }
                    if let failure { sent.fail(failure) } else { sent.succeed() }
                }
            }
        }
        try await sent.futureResult.get()
    }
}
