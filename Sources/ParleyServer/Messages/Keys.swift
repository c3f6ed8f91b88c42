import ParleyCore
import ParleyWire

/// The names of all keys and channels of the message path, readable in redis-cli. The text between braces decides
/// which keys share a server: a conversation's all stand in its lane, a user's all in the user's shard.
enum Keys {
    static let epoch = "epoch"

    static func conversation(_ conversation: ConversationID) -> String {
        "conv:{\(Lane(of: conversation))}:\(conversation)"
    }
    /// Of a group: each member, with the seq and mid of their joining.
    static func members(_ group: ConversationID) -> String { "members:{\(Lane(of: group))}:\(group)" }
    /// Of a group: what of its fan-out is to be delivered in chunks, and the users who are owed more than that.
    static func chunks(_ group: ConversationID) -> String { "chunks:{\(Lane(of: group))}:\(group)" }
    static func owed(_ group: ConversationID) -> String { "owed:{\(Lane(of: group))}:\(group)" }

    static func lane(_ lane: Lane) -> String { "lane:{\(lane)}" }
    static func pending(_ lane: Lane) -> String { "pending:{\(lane)}" }
    /// The last entry known to be archived, for people to see.
    static func archived(_ lane: Lane) -> String { "archived:{\(lane)}" }

    /// The bucket of cids of one minute, by the cid's own time.
    static func dedup(_ lane: Lane, cidMilliseconds: Int64) -> String { "dedup:{\(lane)}:\(cidMilliseconds / 60_000)" }
    /// A cid too old for a bucket.
    static func lateDedup(_ lane: Lane, _ conversation: ConversationID, _ sender: UserID, _ cid: ClientMessageID)
        -> String
    {
        "late:{\(lane)}:\(conversation):\(sender):\(cid)"
    }

    static func queue(_ user: UserID) -> String { "queue:{\(UserShard(of: user))}:\(user)" }
    static func user(_ user: UserID) -> String { "user:{\(UserShard(of: user))}:\(user)" }
    static func revoked(_ user: UserID, _ login: String) -> String { "revoked:{\(UserShard(of: user))}:\(login)" }

    static let userChannelPrefix = "user:"
    static func channel(_ user: UserID) -> String { userChannelPrefix + user.description }
    /// What many members of a group are woken by, together; every event loop of a gateway listens.
    static let groupsChannel = "groups"

    /// What each worker says of itself.
    static let workers = "workers"
}
