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
    /// Of the members who show theirs to the user.
    let positions: [UserID: Position]
    let unread: Int64
    /// The user's own.
    let mute: Mute?

    /// Members other than its author who were there when the newest message was sent, and how many of them have got it,
    /// and read it.
    var lastReceipts: (members: Int, delivered: Int, read: Int)? {
        guard let last else { return nil }
        var counts = (members: 0, delivered: 0, read: 0)
        for (member, position) in positions where member != last.sender && position.joined ?? 0 < last.seq {
            counts.members += 1
            if position.delivered >= last.seq { counts.delivered += 1 }
            if position.read >= last.seq { counts.read += 1 }
        }
        return counts
    }
}
