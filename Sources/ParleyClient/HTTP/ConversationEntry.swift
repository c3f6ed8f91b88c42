public import ParleyWire

/// A conversation as its user sees it.
public struct ConversationEntry: Sendable, Hashable, Decodable {
    public struct Last: Sendable, Hashable, Decodable {
        public var mid: MessageID
        public var seq: Int64
        public var from: UserID?
        /// Milliseconds since 1970.
        public var ts: Int64
        /// Nil for a deleted message.
        public var body: String?
    }

    /// Up to which seq a member has read, and got delivered.
    public struct Position: Sendable, Hashable, Decodable {
        public var user: UserID
        public var read: Int64
        public var delivered: Int64
    }

    public var id: ConversationID
    /// `direct` or `group`.
    public var kind: String
    /// Nil for a direct conversation.
    public var title: String?
    /// Of a group's membership.
    public var version: Int64?
    public var owner: UserID?
    public var admins: [UserID]?
    public var members: [UserID]
    public var last: Last?
    public var unread: Int64
    public var readSeq: Int64
    /// In a list the user's own alone for groups.
    public var positions: [Position]?

    enum CodingKeys: String, CodingKey {
        case id, kind, title, version, owner, admins, members, last, unread, positions
        case readSeq = "read_seq"
    }
}

/// Part of a user's list of conversations, the most recently written in first.
public struct ConversationPage: Sendable, Hashable, Decodable {
    public var conversations: [ConversationEntry]
    /// Where the next page begins; nil at the end.
    public var next: String?
}
