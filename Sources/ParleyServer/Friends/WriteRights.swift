import ParleyWire
import RedisClient

/// Who of two users may not write to the other, as of one moment in PostgreSQL.
struct WriteRights: Sendable, Hashable {
    enum Closed: Sendable, Hashable {
        case nobody
        case one(UserID)
        case both
    }

    let conversation: ConversationID
    /// Rises with every change of what the rights follow from.
    let version: Int64
    let closed: Closed
    /// The conversation exists.
    let isOpen: Bool

    /// A block closes a conversation to both; otherwise friends may write, and strangers to whom everyone may.
    static func closed(
        _ lo: UserID,
        _ loTakes: MayWrite,
        _ hi: UserID,
        _ hiTakes: MayWrite,
        areFriends: Bool,
        isBlocked: Bool
    ) -> Closed {
        if isBlocked { return .both }
        switch (loTakes, hiTakes) {
        case _ where areFriends: return .nobody
        case (.everyone, .everyone): return .nobody
        case (.friends, .everyone): return .one(hi)
        case (.everyone, .friends): return .one(lo)
        case (.friends, .friends): return .both
        }
    }

    func mayWrite(_ user: UserID) -> Bool {
        switch closed {
        case .nobody: true
        case .one(let other): other != user
        case .both: false
        }
    }

    /// Tells Redis, unless it has been told something newer.
    var command: RedisCommand {
        let whom =
            switch closed {
            case .nobody: ""
            case .one(let user): user.description
            case .both: "*"
            }
        return RedisFunctions.call("relate", keys: [Keys.conversation(conversation)], [String(version), whom])
    }
}
