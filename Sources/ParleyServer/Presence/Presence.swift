import Logging
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient

/// What a process needs to say who is online, and to ask for it.
struct Presence: Sendable {
    let terms: PresenceTerms
    let redis: RedisClient
    /// Carries the channels of pairs.
    let volatile: RedisClient
    let store: PresenceStore
    let publisher: PresencePublisher

    init(
        terms: PresenceTerms,
        redis: RedisClient,
        volatile: RedisClient,
        postgres: PostgresPool,
        logger: Logger
    ) {
        self.terms = terms
        self.redis = redis
        self.volatile = volatile
        store = PresenceStore(postgres: postgres)
        publisher = PresencePublisher(store: store, volatile: volatile, logger: logger)
    }

    /// When somebody was here last, in milliseconds since 1970; nil for who must not be told, and for what cannot be told
    /// now.
    func lastActive(of user: UserID, for viewer: UserID) async -> Int64? {
        guard (try? await store.mayViewer(viewer, seeLastActiveOf: user)) == true,
            let reply = try? await redis.send(PresenceCalls.read([user]), repeatable: true)
        else { return nil }
        return PresenceCalls.states(reply)?.first?.lastActive
    }

    /// Puts in force what a user shows, as PostgreSQL has it.
    func privacyChanged(of user: UserID) async throws {
        guard let privacy = try await store.privacy(of: [user])[user] else { return }
        let reply = try await redis.send(privacy.command(for: user), repeatable: true)
        if case .change(let state) = PresenceReply(reply) { publisher.publish(.init(user: user, state: state)) }
    }
}
