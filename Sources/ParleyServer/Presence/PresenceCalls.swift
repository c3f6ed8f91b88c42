import ParleyCore
import ParleyWire
import RedisClient

extension Keys {
    static func presence(_ user: UserID) -> String { "presence:{\(UserShard(of: user))}:\(user)" }
    static func expiries(_ user: UserID) -> String { "expiries:{\(UserShard(of: user))}" }
    /// Of all shards.
    static let allExpiries = (0..<UserShard.count).map { "expiries:{U\($0)}" }
    /// When each event loop of a gateway gave a sign last.
    static let presenceGateways = "presence:gateways"

    fileprivate static func presencePair(_ user: UserID) -> [String] { [presence(user), expiries(user)] }
}

/// A change of what a user's friends see, as it is published: `<user> <online or offline> <version> <last active or ->`.
struct PresenceChange: Sendable, Hashable {
    let user: UserID
    let state: PresenceState

    init(user: UserID, state: PresenceState) {
        self.user = user
        self.state = state
    }

    init?(payload: String) {
        let words = payload.split(separator: " ")
        guard let first = words.first, let user = UserID(first), let state = PresenceState(words: words.dropFirst())
        else { return nil }
        self.init(user: user, state: state)
    }

    var payload: String { "\(user) \(state.text)" }
}

/// What a change of a lease meant.
enum PresenceReply: Sendable, Hashable {
    case nothing
    case change(PresenceState)
    /// Redis lacks the user's privacy, and did nothing.
    case unknown

    init?(_ reply: RESPValue) {
        switch reply.string {
        case "": self = .nothing
        case "unknown": self = .unknown
        case let text?:
            guard let state = PresenceState(words: text.split(separator: " ")) else { return nil }
            self = .change(state)
        case nil: return nil
        }
    }
}

/// What a session, or a poll that waits, holds while it is there.
struct PresenceLease: Sendable, Hashable {
    let user: UserID
    /// A device's name; of a poll `poll:` and what it is known by.
    let holder: String
    let session: String

    /// - Parameter milliseconds: that it lasts.
    func enter(gateway: String, milliseconds: Int64, privacy: PresencePrivacy?) -> RedisCommand {
        RedisFunctions.call(
            "presence_enter",
            keys: Keys.presencePair(user),
            [user.description, holder, session, gateway, String(milliseconds), privacy?.text ?? ""]
        )
    }

    /// - Parameter remainder: milliseconds that are left of it, at most.
    func leave(remainder: Int64) -> RedisCommand {
        RedisFunctions.call(
            "presence_leave",
            keys: Keys.presencePair(user),
            [user.description, holder, session, String(remainder)]
        )
    }
}

/// What a user shows of their presence.
struct PresencePrivacy: Sendable, Hashable {
    /// Rises with every change.
    let version: Int64
    let lastSeen: LastSeen
    let isInvisible: Bool

    var text: String { "\(version) \(lastSeen.rawValue) \(isInvisible ? "invisible" : "visible")" }

    func command(for user: UserID) -> RedisCommand {
        RedisFunctions.call("presence_privacy", keys: Keys.presencePair(user), [user.description, text])
    }
}

enum PresenceCalls {
    static func active(_ user: UserID) -> RedisCommand {
        RedisFunctions.call("presence_active", keys: [Keys.presence(user)], [])
    }

    static func read(_ users: some Collection<UserID>) -> RedisCommand {
        RedisFunctions.call("presence_read", keys: users.map(Keys.presence), [], readOnly: true)
    }

    /// - Returns: nil for what cannot be an answer.
    static func states(_ reply: RESPValue) -> [PresenceState]? {
        guard let parts = reply.array else { return nil }
        let states = parts.compactMap { $0.string.flatMap { PresenceState(words: $0.split(separator: " ")) } }
        return states.count == parts.count ? states : nil
    }

    static func due(_ expiries: some Collection<String>, limit: Int) -> RedisCommand {
        RedisFunctions.call("presence_due", keys: Array(expiries), [String(limit)], readOnly: true)
    }

    static func sweep(_ users: some Collection<UserID>) -> RedisCommand {
        RedisFunctions.call("presence_sweep", keys: users.flatMap(Keys.presencePair), users.map(\.description))
    }

    static func sign(of gateway: String) -> RedisCommand {
        RedisFunctions.call("presence_sign", keys: [Keys.presenceGateways], [gateway])
    }

    static func silent(forMilliseconds limit: Int64) -> RedisCommand {
        RedisFunctions.call("presence_silent", keys: [Keys.presenceGateways], [String(limit)], readOnly: true)
    }

    /// - Parameters:
    ///   - lastSign: in milliseconds since 1970 by Redis's clock.
    ///   - grace: in milliseconds.
    static func giveUp(
        _ gateway: String,
        lastSign: Int64,
        grace: Int64,
        _ users: some Collection<UserID>
    ) -> RedisCommand {
        RedisFunctions.call(
            "presence_give_up",
            keys: users.flatMap(Keys.presencePair),
            [gateway, String(lastSign), String(grace)] + users.map(\.description)
        )
    }

    static func forget(_ user: UserID) -> RedisCommand {
        RedisFunctions.call("presence_forget", keys: Keys.presencePair(user), [user.description])
    }
}
