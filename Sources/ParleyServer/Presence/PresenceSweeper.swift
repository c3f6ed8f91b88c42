import Logging
import ParleyCore
import ParleyWire
import RedisClient

/// Publishes the offline of those whose leases ended without anybody saying so: their gateway died, or their grace is
/// over. Several may do so at once: who looks first at a user changes the state, and the others find it changed.
struct PresenceSweeper: Sweeper {
    let presence: Presence
    let logger: Logger

    static let pause = Duration.seconds(1)
    /// Shards that one call looks at.
    private static let shards = 128
    /// Users of one call.
    private static let users = 100

    /// After a restart of Redis the leases may have run out while nobody could renew them: gateways get a heartbeat, and
    /// the time to find it again.
    func isSettled() async throws -> Bool {
        let info = try await presence.redis.send("INFO", "server", repeatable: true).string ?? ""
        let uptime = info.split(whereSeparator: \.isNewline).first { $0.hasPrefix("uptime_in_seconds:") }
        guard let seconds = uptime.flatMap({ Int64($0.dropFirst("uptime_in_seconds:".count)) }) else { return false }
        return seconds * 1000 > presence.terms.heartbeat + 5000
    }

    func sweep() async throws {
        guard try await isSettled() else { return }
        let expiries = Keys.allExpiries
        for start in stride(from: 0, to: expiries.count, by: Self.shards) {
            let keys = expiries[start..<min(start + Self.shards, expiries.count)]
            while true {
                let reply = try await presence.redis.send(PresenceCalls.due(keys, limit: Self.users), repeatable: true)
                let due = (reply.array ?? []).compactMap { $0.string.flatMap { UserID($0) } }
                guard !due.isEmpty else { break }
                for start in stride(from: 0, to: due.count, by: Self.users) {
                    try await sweep(due[start..<min(start + Self.users, due.count)])
                }
            }
        }
    }

    private func sweep(_ users: ArraySlice<UserID>) async throws {
        let reply = try await presence.redis.send(PresenceCalls.sweep(users), repeatable: true)
        for (user, answer) in zip(users, reply.array ?? []) {
            if case .change(let state) = PresenceReply(answer) {
                presence.publisher.publish(.init(user: user, state: state))
            }
        }
    }
}
