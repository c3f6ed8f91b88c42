import ParleyWire
import RedisClient

/// Keeps what Redis knows of who has registered a device in line with PostgreSQL.
struct PushEnrolment {
    private let store: PushStore
    private let redis: RedisClient

    private static let page = 1000

    init(_ worker: PushWorker) { (store, redis) = (worker.store, worker.redis) }

    /// Enrols whoever is missing: Redis lost data, or a gateway died between the two.
    func check() async throws {
        var last = ""
        while true {
            let users = try await store.users(after: last, limit: Self.page)
            guard let end = users.last else { return }
            let reply = try await redis.send(RedisCommand(["SMISMEMBER", Keys.pushUsers] + users), repeatable: true)
            let missing = zip(users, reply.array ?? []).filter { $0.1.integer == 0 }.map(\.0)
            if !missing.isEmpty { _ = try await redis.send(PushCalls.enrol(missing, true), repeatable: true) }
            last = end
        }
    }

    /// These had no device when that was looked up; whoever has registered one since is enrolled again.
    func forget(_ users: Set<UserID>) async throws {
        _ = try await redis.send(PushCalls.enrol(users.map(\.description), false), repeatable: true)
        let back = Set(try await store.registrations(of: users).map(\.user.description))
        if !back.isEmpty { _ = try await redis.send(PushCalls.enrol(back, true), repeatable: true) }
    }
}
