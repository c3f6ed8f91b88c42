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

    /// How many have got the newest message, and read it: of the members but its author who were there when it was sent.
    public struct LastReceipts: Sendable, Hashable, Decodable {
        public var of: Int
        public var delivered: Int
        public var read: Int
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
    public var lastReceipts: LastReceipts?
    public var unread: Int64
    public var readSeq: Int64
    /// In a list, of a group of more than 32 members, the user's own alone.
    public var positions: [Position]?

    enum CodingKeys: String, CodingKey {
        case id, kind, title, version, owner, admins, members, last, unread, positions
        case lastReceipts = "last_receipts"
        case readSeq = "read_seq"
    }
}

/// Part of a user's list of conversations, the most recently written in first.
public struct ConversationPage: Sendable, Hashable, Decodable {
    public var conversations: [ConversationEntry]
    /// Where the next page begins; nil at the end.
    public var next: String?
}
