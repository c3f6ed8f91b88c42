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
            case (.edited, let body?) where event.mid != nil:
                content = MessageContent(body: body, replyTo: event.mid)
            case (.deleted, nil) where event.mid != nil: content = MessageContent(body: "", replyTo: event.mid)
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

    /// What `tail` says of one lane, of many by one question, or a few where much waits for the archive.
    ///
    /// - Parameter positions: after which to read.
    /// - Returns: of each lane in order, of several in none.
    func tails(after positions: [Lane: UInt64], of wanted: Set<ConversationID>) async throws -> [StoredMessage] {
        var tails = LaneTails(after: positions, of: wanted, room: Self.pageSize * Self.pageLimit)
        while let question = tails.question { tails.take(try await redis.send(question, repeatable: true)) }
        return try tails.result()
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
/// as data; or from the commit log alone a change of a message: with that message's seq, and its mid as `replyTo`.
struct StoredMessage: Sendable, Hashable {
    let conversation: ConversationID
    let mid: MessageID
    let seq: Int64
    let sender: UserID
    let cid: ClientMessageID?
    var content: MessageContent
    var type = EventType.message
    /// Of a change, where it comes from the commit log.
    var groupVersion: Int64?
    /// Of a message that was edited or deleted, the last such change.
    var rev: Int64?
    var isDeleted = false

    /// Milliseconds since 1970.
    var timestamp: Int64 { mid.unixMilliseconds }

    /// Of a change of a message, what it does.
    var change: MessageChange? {
        switch type {
        case .edited: .edit(body: content.body)
        case .deleted: .delete
        default: nil
        }
    }

    /// What tells a repeat of its cid from another send or change.
    var contentHash: String {
        guard let change, let target = content.replyTo else { return content.hash }
        return change.contentHash(of: target)
    }

    /// Applies a change of this message, unless that or a later one is in it.
    mutating func apply(_ entry: StoredMessage) {
        guard let change = entry.change, rev ?? 0 < entry.mid.revision else { return }
        rev = entry.mid.revision
        switch change {
        case .edit(let body): content.body = body
        case .delete:
            isDeleted = true
            content = MessageContent(body: "")
        }
    }
}

extension MessageID {
    /// The revision that a change makes whose place in the commit log this is. Below 2^53.
    var revision: Int64 { milliseconds << 12 | Int64(sequence) }
}

extension [StoredMessage] {
    /// What is read from the commit log, apart: the entries that stand in history, and the changes of messages.
    func separated() -> (entries: [StoredMessage], changes: [MessageID: [StoredMessage]]) {
        var changes: [MessageID: [StoredMessage]] = [:]
        for entry in self where entry.change != nil {
            if let target = entry.content.replyTo { changes[target, default: []].append(entry) }
        }
        return (filter { $0.change == nil }, changes)
    }

    mutating func apply(_ changes: [MessageID: [StoredMessage]]) {
        guard !changes.isEmpty else { return }
        for index in indices {
            for change in changes[self[index].mid] ?? [] { self[index].apply(change) }
        }
    }
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
