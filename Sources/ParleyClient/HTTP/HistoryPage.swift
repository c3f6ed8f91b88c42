import NIOCore
public import ParleyWire

/// An entry of a conversation's history as it is now: a message, or what changed a group.
public struct HistoryMessage: Sendable, Hashable {
    public var mid: MessageID
    /// A message's own; of other entries the preceding one.
    public var seq: Int64
    public var from: UserID?
    /// Milliseconds since 1970.
    public var ts: Int64
    /// Nil for entries that are not messages and for deleted ones.
    public var body: String?
    /// A JSON object, verbatim.
    public var data: String?
    public var replyTo: MessageID?
    /// On the sender's own messages alone.
    public var cid: ClientMessageID?
    /// The revision of an edited or deleted message.
    public var rev: Int64?
    public var deleted: Bool?
    /// Nil or `message` for a message, else what happened: `conversation`, `member_added`, `member_removed`.
    public var type: String?
    /// Who joined or left.
    public var user: UserID?
    public var role: String?
    public var title: String?
    /// The group's membership version that the change made.
    public var version: Int64?

    public var isMessage: Bool { type ?? EventType.message.rawValue == EventType.message.rawValue }
}

public struct HistoryPage: Sendable, Hashable, Decodable {
    public var messages: [HistoryMessage]
    /// Whether the history goes on in the direction of the page.
    public var more: Bool
}

/// Which page of a history.
public enum HistoryPosition: Sendable, Hashable {
    /// The newest messages, newest first.
    case newest
    /// Below this message, newest first.
    case before(MessageID)
    /// Above this message, oldest first.
    case after(MessageID)
    /// Above this seq, oldest first. Of the entries without a seq of their own that carry this one, the newest come too.
    case afterSeq(Int64)

    var query: String {
        switch self {
        case .newest: ""
        case .before(let mid): "&before=\(mid)"
        case .after(let mid): "&after=\(mid)"
        case .afterSeq(let seq): "&after_seq=\(seq)"
        }
    }
}

extension HistoryMessage: Decodable {
    enum CodingKeys: String, CodingKey {
        case mid, seq, from, ts, body, cid, rev, deleted, type, user, role, title, version
        case replyTo = "reply_to"
    }
}

extension HistoryMessage {
    /// The entry that an event makes; nil for one that makes none.
    init?(_ event: Event) {
        guard event.type.isEntry, let mid = event.mid, let seq = event.seq, let ts = event.ts else { return nil }
        (self.mid, self.seq, self.ts, from, cid) = (mid, seq, ts, event.from, event.cid)
        (body, data, replyTo) = (event.body, event.data, event.replyTo)
        (user, role, title, version) = (event.user, event.role, event.title, event.version)
        type = event.type == .message ? nil : event.type.rawValue
    }
}

extension EventType {
    /// Whether such an event is an entry of history, with a mid of its own.
    var isEntry: Bool {
        switch self {
        case .message, .memberAdded, .memberRemoved, .conversation: true
        case .edited, .deleted, .receipt, .friendRequest, .friendAccepted, .friendRemoved, .mute, .unknown: false
        }
    }
}

extension HistoryPage {
    /// Takes each message's `data` from the page's own text: a decoder would not give it back verbatim.
    mutating func readData(from body: ByteBuffer) throws(JSONError) {
        try body.readableBytesSpan.withUnsafeBytes { (bytes) throws(JSONError) in
            var scanner = JSONScanner(bytes)
            try scanner.beginObject()
            while let key = try scanner.nextKey() {
                guard key.string() == "messages" else {
                    try scanner.skipValue()
                    continue
                }
                try scanner.beginArray()
                var index = 0
                while try scanner.nextElement() {
                    try scanner.beginObject()
                    while let key = try scanner.nextKey() {
                        let value = try scanner.value()
                        if value.kind == .object, key.string() == "data" { messages[index].data = value.raw }
                    }
                    index += 1
                }
            }
        }
    }
}

/// The two default ways to decode a MessageID contend, its own text form and its raw value; on the wire it is text.
extension KeyedDecodingContainer {
    func decode(_ type: MessageID.Type, forKey key: Key) throws -> MessageID {
        guard let mid = MessageID(try decode(String.self, forKey: key)) else {
            throw DecodingError.dataCorruptedError(forKey: key, in: self, debugDescription: "not a message id")
        }
        return mid
    }

    func decodeIfPresent(_ type: MessageID.Type, forKey key: Key) throws -> MessageID? {
        guard contains(key), try !decodeNil(forKey: key) else { return nil }
        return try decode(type, forKey: key)
    }
}
