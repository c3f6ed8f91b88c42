/// The durable events of the protocol.
public enum EventType: String, Hashable, Sendable, CaseIterable {
    case message, edited, deleted, receipt
    /// Somebody joined a group, or has another role in it.
    case memberAdded = "member_added"
    case memberRemoved = "member_removed"
    /// A group was created or renamed.
    case conversation
    case friendRequest = "friend_request"
    case friendAccepted = "friend_accepted"
    case friendRemoved = "friend_removed"
    /// The user muted a conversation, or does not any more; for their own devices alone.
    case mute
    /// A type that this version does not know: counted for its q, otherwise ignored.
    case unknown
}

/// A durable event, without its position in a user's queue, which differs from user to user. Which fields are set
/// depends on the type.
public struct Event: Hashable, Sendable {
    public var type: EventType
    public var conv: ConversationID?
    /// A message's position in its conversation; for other entries of history the preceding one.
    public var seq: Int64?
    public var mid: MessageID?
    /// Who wrote the message, or did what the event tells.
    public var from: UserID?
    /// Milliseconds since 1970.
    public var ts: Int64?
    public var body: String?
    /// A JSON object, verbatim.
    public var data: String?
    public var replyTo: MessageID?
    /// On the sender's own devices alone.
    public var cid: ClientMessageID?
    /// The revision that an edit or deletion made.
    public var rev: Int64?
    /// Whom the event is about: the reader of a receipt, the member, the friend.
    public var user: UserID?
    /// Up to which seq `user` has read.
    public var read: Int64?
    /// Up to which seq messages have reached a device of `user`.
    public var delivered: Int64?
    public var title: String?
    public var role: String?
    /// The group's membership version that the change made.
    public var version: Int64?
    public var muted: Bool?
    /// Milliseconds since 1970; nil for a mute without an end.
    public var mutedUntil: Int64?

    public init(_ type: EventType, conv: ConversationID? = nil) {
        self.type = type
        self.conv = conv
    }

    public static func message(
        conv: ConversationID,
        seq: Int64,
        mid: MessageID,
        from: UserID,
        ts: Int64,
        content: MessageContent,
        cid: ClientMessageID? = nil
    ) -> Event {
        var event = Event(.message, conv: conv)
        (event.seq, event.mid, event.from, event.ts, event.cid) = (seq, mid, from, ts, cid)
        (event.body, event.data, event.replyTo) = (content.body, content.data, content.replyTo)
        return event
    }
}
