import NIOCore
import ParleyCore
import ParleyWire
import RedisClient

/// Reads lanes: what is committed and not yet archived.
struct CommitLog: Sendable {
    let redis: RedisClient

    /// An entry that cannot be a message of this version's form.
    struct Unreadable: Error, CustomStringConvertible {
        let description: String
    }

    /// An entry as it stands in the log.
    struct RawEntry: Sendable {
        let streamID: String
        let entry: ByteBuffer

        /// The message, with the id and time that follow from its place.
        func message(in lane: Lane) throws -> StoredMessage {
            guard let mid = MessageID(streamID: streamID, lane: lane) else {
                throw Unreadable(description: "no message id follows from \(streamID)")
            }
            let event: Event
            do {
                event = try Event.decode(entry)
            } catch {
                throw Unreadable(description: "\(error.code): \(error.message)")
            }
            guard let conversation = event.conv, let seq = event.seq, let sender = event.from else {
                throw Unreadable(description: "conv, seq or from is missing")
            }
            let content: MessageContent
            switch (event.type, event.body) {
            case (.message, let body?):
                content = MessageContent(body: body, data: event.data, replyTo: event.replyTo)
            case (.memberAdded, _), (.memberRemoved, _), (.conversation, _):
                content = MessageContent(body: "", data: event.changeData)
            default: throw Unreadable(description: "the type is unknown, or the body is missing")
            }
            return StoredMessage(
                conversation: conversation,
                mid: mid,
                seq: seq,
                sender: sender,
                cid: event.cid,
                content: content,
                type: event.type,
                groupVersion: event.version
            )
        }
    }

    /// Entries that one read takes at most, and reads that one question may need: beyond, the backlog is too long to
    /// be searched on somebody's request.
    private static let pageSize = 1000
    private static let pageLimit = 50

    /// The messages in a lane after a position that `isWanted` says yes to.
    /// - Throws: `RedisError`; `HistoryError.backlogTooLong`.
    func tail(
        of lane: Lane,
        after position: UInt64,
        where isWanted: (StoredMessage) -> Bool
    ) async throws -> [StoredMessage] {
        var messages: [StoredMessage] = []
        var start = "-"
        if position > 0, let mid = MessageID(rawValue: position) { start = "(\(mid.streamID)" }
        for _ in 0..<Self.pageLimit {
            let reply = try await redis.send("XRANGE", Keys.lane(lane), start, "+", "COUNT", "\(Self.pageSize)")
            let entries = Self.entries(reply)
            // What cannot be read is the archiver's affair: it moves such entries to the dead letters.
            messages += entries.compactMap { try? $0.message(in: lane) }.filter(isWanted)
            guard entries.count == Self.pageSize, let last = entries.last else { return messages }
            start = "(\(last.streamID)"
        }
        throw HistoryError.backlogTooLong
    }

    /// The entries of an XRANGE reply, or of one stream of an XREAD reply.
    static func entries(_ reply: RESPValue) -> [RawEntry] {
        (reply.array ?? []).compactMap { item in
            guard let parts = item.array, parts.count == 2, let id = parts[0].string, let fields = parts[1].array,
                fields.count >= 2, let entry = fields[1].bytes
            else { return nil }
            return RawEntry(streamID: id, entry: entry)
        }
    }
}

/// A message as history holds it, or a change of a group: with the seq before it, an empty body, and what the event tells
/// as data.
struct StoredMessage: Sendable, Hashable {
    let conversation: ConversationID
    let mid: MessageID
    let seq: Int64
    let sender: UserID
    let cid: ClientMessageID?
    let content: MessageContent
    var type = EventType.message
    /// Of a change, where it comes from the commit log.
    var groupVersion: Int64?

    /// Milliseconds since 1970.
    var timestamp: Int64 { mid.unixMilliseconds }
}

extension Event {
    /// What a change of a group tells besides what every entry has, as a JSON object.
    fileprivate var changeData: String {
        var buffer = ByteBuffer()
        buffer.beginJSONObject()
        if let user { buffer.writeJSONField("user", user) }
        if let role { buffer.writeJSONField("role", role) }
        if let title { buffer.writeJSONField("title", title) }
        if let version { buffer.writeJSONField("version", version) }
        buffer.endJSONObject()
        return String(buffer: buffer)
    }
}
