import ParleyWire

/// A user's view of a conversation.
struct ConversationSummary: Sendable {
    /// What only groups have.
    struct Group: Sendable {
        let title: String
        /// The membership's.
        let version: Int64
        let owner: UserID?
        let admins: [UserID]
    }

    /// Up to where a member has read, and got delivered.
    struct Position: Sendable, Hashable {
        var read: Int64 = 0
        var delivered: Int64 = 0
        /// The last seq before the joining of a group's member.
        var joined: Int64?
    }

    let conversation: ConversationID
    let group: Group?
    /// Of a group in the order of their joining.
    let members: [UserID]
    /// The newest message that the user may see.
    let last: StoredMessage?
    /// Of members; a list has the user's alone in big groups.
    let positions: [UserID: Position]
    let unread: Int64
    /// The user's own.
    let mute: Mute?
}
