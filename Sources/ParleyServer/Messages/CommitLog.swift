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
            guard event.type == .message, let conversation = event.conv, let seq = event.seq, let sender = event.from,
                let body = event.body
            else { throw Unreadable(description: "type, conv, seq, from or body is missing") }
            return StoredMessage(
                conversation: conversation,
                mid: mid,
                seq: seq,
                sender: sender,
                cid: event.cid,
                content: MessageContent(body: body, data: event.data, replyTo: event.replyTo)
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

/// A message as history holds it.
struct StoredMessage: Sendable, Hashable {
    let conversation: ConversationID
    let mid: MessageID
    let seq: Int64
    let sender: UserID
    let cid: ClientMessageID?
    let content: MessageContent

    /// Milliseconds since 1970.
    var timestamp: Int64 { mid.unixMilliseconds }
}
