import Logging
import ParleyCore
import ParleyWire
import RedisClient

/// Publishes the offline of those whose leases ended without anybody saying so: their gateway died, or their grace is
/// over. Several may do so at once: who looks first at a user changes the state, and the others find it changed.
///
/// The leases of a gateway that died end with the grace after its last sign; what it may not have published is published
/// then. One that was merely slow finds that it was given up and renews them all, in the time that they have left.
struct PresenceSweeper: Sweeper {
    let presence: Presence
    let logger: Logger
    private let attention = Attention()

    static let pause = Duration.seconds(1)
    /// Shards that one call looks at.
    private static let shards = 128
    /// Users of one call.
    private static let users = 50
    /// A gateway gives a sign each second; milliseconds.
    private static let silence: Int64 = 5000

    init(presence: Presence, logger: Logger) {
        self.presence = presence
        self.logger = logger
    }

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
        try await giveUpTheSilent()
        let expiries = Keys.allExpiries
        for start in stride(from: 0, to: expiries.count, by: Self.shards) {
            let keys = expiries[start..<min(start + Self.shards, expiries.count)]
            while true {
                let reply = try await presence.redis.send(PresenceCalls.due(keys, limit: Self.users), repeatable: true)
                let due = (reply.array ?? []).compactMap { $0.string.flatMap { UserID($0) } }
                guard !due.isEmpty else { break }
                try await change(due) { PresenceCalls.sweep($0) }
            }
        }
    }

    private func giveUpTheSilent() async throws {
        let reply = try await presence.redis.send(PresenceCalls.silent(forMilliseconds: Self.silence), repeatable: true)
        guard attention.span() >= .milliseconds(2 * Self.silence) else { return }
        defer { _ = attention.span(isWork: true) }
        for words in (reply.array ?? []).compactMap({ $0.string?.split(separator: " ") }) {
            guard words.count == 2, let lastSign = Int64(words[1]) else { continue }
            let gateway = String(words[0])
            logger.notice("gives up the sessions of a gateway without a sign", metadata: ["gateway": "\(gateway)"])
            for expiries in Keys.allExpiries {
                let reply = try await presence.redis.send("ZRANGE", expiries, "0", "-1", repeatable: true)
                try await change((reply.array ?? []).compactMap { $0.string.flatMap { UserID($0) } }) {
                    PresenceCalls.giveUp(gateway, lastSign: lastSign, grace: presence.terms.grace, $0)
                }
            }
            _ = try await presence.redis.send("HDEL", Keys.presenceGateways, gateway, repeatable: true)
        }
    }

    /// Has users looked at, and publishes what changed.
    private func change(_ users: [UserID], by command: (ArraySlice<UserID>) -> RedisCommand) async throws {
        for start in stride(from: 0, to: users.count, by: Self.users) {
            let chunk = users[start..<min(start + Self.users, users.count)]
            let reply = try await presence.redis.send(command(chunk), repeatable: true)
            for (user, answer) in zip(chunk, reply.array ?? []) {
                if case .change(let state) = PresenceReply(answer) {
                    presence.publisher.publish(.init(user: user, state: state))
                }
            }
        }
    }
}
