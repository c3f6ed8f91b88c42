import ParleyCore
import ParleyWire
import PostgresClient

enum HistoryError: Error {
    /// So much waits for the archive that the commit log cannot be searched in a request's time.
    case backlogTooLong
}

/// The messages of conversations: the archive in PostgreSQL, and what of the commit log is not archived yet.
///
/// History is never behind an acknowledgement. The archived position is read first, then the lane after it, then
/// PostgreSQL: whatever moves from one to the other meanwhile is seen in PostgreSQL, and the union drops repeats.
struct History: Sendable {
    let postgres: PostgresPool
    let commitLog: CommitLog
    let positions: ArchivePositions

    enum Window: Sendable, Hashable {
        /// The newest, or those before a message; newest first.
        case before(MessageID?)
        /// After a message, oldest first.
        case after(MessageID)
        /// After a sequence number, oldest first.
        case afterSequence(Int64)
    }

    struct Page: Sendable {
        var messages: [StoredMessage]
        var hasMore: Bool
    }

    /// - Parameter floor: the first entry that may be seen; nil for the conversation's beginning.
    func page(
        of conversation: ConversationID,
        _ window: Window,
        from floor: MessageID? = nil,
        limit: Int
    ) async throws -> Page {
        let lane = Lane(of: conversation)
        let archived = try await positions.position(of: lane)
        // Of the oldest page too: a message may be changed long after it was archived.
        let recent = try await commitLog.tail(of: lane, after: archived) {
            $0.conversation == conversation
                && ($0.change != nil || window.contains($0) && $0.mid >= floor ?? $0.mid)
        }
        var (messages, changes) = recent.separated()
        let unarchived = Set(messages.map(\.mid))
        let rows = try await rows(of: conversation, window, from: floor, limit: limit + 1)
        messages += rows.filter { !unarchived.contains($0.mid) }
        messages.apply(changes)
        messages.sort { window.isNewestFirst ? $0.mid > $1.mid : $0.mid < $1.mid }
        return window.page(messages, limit: limit)
    }

    /// One entry, as a page would show it; nil where the conversation has none of this id.
    func entry(_ mid: MessageID, in conversation: ConversationID) async throws -> StoredMessage? {
        let lane = Lane(of: conversation)
        let archived = try await positions.position(of: lane)
        var (found, changes) = try await commitLog.tail(of: lane, after: archived) {
            $0.conversation == conversation && (($0.change == nil ? $0.mid : $0.content.replyTo) == mid)
        }.separated()
        if found.isEmpty {
            let rows = try await postgres.query(
                """
                SELECT message_id, seq, sender_id, cid, body, data, reply_to, type, rev, is_deleted FROM messages
                WHERE conversation_id = \(conversation.description) AND message_id = \(Int64(mid.rawValue))
                """
            )
            found = try decode(rows, conversation)
        }
        found.apply(changes)
        return found.first
    }

    /// What a sender committed under a cid.
    struct Commit: Sendable {
        let mid: MessageID
        let seq: Int64
        /// nil for a message whose first content is gone, since it was changed.
        let contentHash: String?
    }

    /// What a sender committed under a cid, however long ago.
    func find(_ cid: ClientMessageID, from sender: UserID, in conversation: ConversationID) async throws -> Commit? {
        let lane = Lane(of: conversation)
        let archived = try await positions.position(of: lane)
        let recent = try await commitLog.tail(of: lane, after: archived) {
            $0.cid == cid && $0.sender == sender && $0.conversation == conversation
        }
        if let found = recent.first {
            return Commit(mid: found.mid, seq: found.seq, contentHash: found.contentHash)
        }
        let rows = try await postgres.query(
            """
            SELECT message_id, seq, sender_id, cid, body, data, reply_to, type, rev, is_deleted FROM messages
            WHERE conversation_id = \(conversation.description) AND sender_id = \(sender.description)
                AND cid = \(cid.description)
            """
        )
        if let found = try decode(rows, conversation).first {
            return Commit(mid: found.mid, seq: found.seq, contentHash: found.rev == nil ? found.content.hash : nil)
        }
        let changes = try await postgres.query(
            """
            SELECT change_id, seq, content_hash FROM message_changes
            WHERE conversation_id = \(conversation.description) AND sender_id = \(sender.description)
                AND cid = \(cid.description)
            """
        )
        return try changes.decode((Int64, Int64, String).self).first.flatMap { change, seq, hash in
            MessageID(rawValue: UInt64(change)).map { Commit(mid: $0, seq: seq, contentHash: hash) }
        }
    }

    /// The highest sequence number of a conversation, 0 for none.
    func lastSequence(of conversation: ConversationID) async throws -> Int64 {
        try await page(of: conversation, .before(nil), limit: 1).messages.first?.seq ?? 0
    }

    /// The newest message of each of these conversations that has one.
    func lastMessages(of conversations: [ConversationID]) async throws -> [ConversationID: StoredMessage] {
        var last: [ConversationID: StoredMessage] = [:]
        var changes: [MessageID: [StoredMessage]] = [:]
        let wanted = Set(conversations)
        let archived = try await positions.all()
        try await withThrowingTaskGroup(of: [StoredMessage].self) { group in
            for lane in Set(conversations.map(Lane.init(of:))) {
                group.addTask {
                    try await commitLog.tail(of: lane, after: archived[lane.number]) {
                        wanted.contains($0.conversation)
                    }
                }
            }
            for try await messages in group {
                let (entries, changed) = messages.separated()
                for message in entries where message.type == .message { last[message.conversation] = message }
                changes.merge(changed) { $0 + $1 }
            }
        }
        let missing = conversations.filter { last[$0] == nil }
        guard !missing.isEmpty else { return Self.apply(changes, to: last) }
        let rows = try await postgres.query(
            """
            SELECT c.id, m.message_id, m.seq, m.sender_id, m.body, m.rev, m.is_deleted
            FROM unnest(\(missing.map(\.description))::text[]) AS c(id)
            CROSS JOIN LATERAL (
                SELECT message_id, seq, sender_id, body, rev, is_deleted FROM messages
                WHERE conversation_id = c.id AND type IS NULL ORDER BY message_id DESC LIMIT 1
            ) m
            """
        )
        for (id, mid, seq, sender, body, rev, isDeleted) in try rows.decode(
            (String, Int64, Int64, String, String, Int64?, Bool).self
        ) {
            guard let conversation = ConversationID(id), let mid = MessageID(rawValue: UInt64(mid)),
                let sender = UserID(sender)
            else { continue }
            last[conversation] = StoredMessage(
                conversation: conversation,
                mid: mid,
                seq: seq,
                sender: sender,
                cid: nil,
                content: MessageContent(body: body),
                rev: rev,
                isDeleted: isDeleted
            )
        }
        return Self.apply(changes, to: last)
    }

    private static func apply(
        _ changes: [MessageID: [StoredMessage]],
        to last: [ConversationID: StoredMessage]
    ) -> [ConversationID: StoredMessage] {
        last.mapValues { message in
            var message = message
            for change in changes[message.mid] ?? [] { message.apply(change) }
            return message
        }
    }

    private func rows(
        of conversation: ConversationID,
        _ window: Window,
        from floor: MessageID?,
        limit: Int
    ) async throws -> [StoredMessage] {
        let id = conversation.description
        let (limit, floor) = (Int64(limit), Int64(floor?.rawValue ?? 0))
        let rows =
            switch window {
            case .before(let mid):
                try await postgres.query(
                    """
                    SELECT message_id, seq, sender_id, cid, body, data, reply_to, type, rev, is_deleted FROM messages
                    WHERE conversation_id = \(id) AND message_id < \(mid.map { Int64($0.rawValue) } ?? Int64.max)
                        AND message_id >= \(floor)
                    ORDER BY message_id DESC LIMIT \(limit)
                    """
                )
            case .after(let mid):
                try await postgres.query(
                    """
                    SELECT message_id, seq, sender_id, cid, body, data, reply_to, type, rev, is_deleted FROM messages
                    WHERE conversation_id = \(id) AND message_id > \(Int64(mid.rawValue)) AND message_id >= \(floor)
                    ORDER BY message_id LIMIT \(limit)
                    """
                )
            case .afterSequence(let seq):
                try await postgres.query(
                    """
                    (SELECT message_id, seq, sender_id, cid, body, data, reply_to, type, rev, is_deleted FROM messages
                    WHERE conversation_id = \(id) AND seq > \(seq) AND message_id >= \(floor)
                    ORDER BY seq, message_id LIMIT \(limit))
                    UNION ALL
                    (SELECT message_id, seq, sender_id, cid, body, data, reply_to, type, rev, is_deleted FROM messages
                    WHERE conversation_id = \(id) AND seq = \(seq) AND type IS NOT NULL AND message_id >= \(floor)
                    ORDER BY message_id DESC LIMIT \(limit))
                    """
                )
            }
        return try decode(rows, conversation)
    }

    private func decode(_ rows: PostgresRows, _ conversation: ConversationID) throws -> [StoredMessage] {
        try rows.decode(
            (Int64, Int64, String, String?, String, String?, Int64?, String?, Int64?, Bool).self
        ).compactMap { (mid, seq, sender, cid, body, data, replyTo, type, rev, isDeleted) in
            guard let mid = MessageID(rawValue: UInt64(mid)), let sender = UserID(sender) else { return nil }
            return StoredMessage(
                conversation: conversation,
                mid: mid,
                seq: seq,
                sender: sender,
                cid: cid.flatMap { ClientMessageID($0) },
                content: MessageContent(
                    body: body,
                    data: data,
                    replyTo: replyTo.flatMap { MessageID(rawValue: UInt64($0)) }
                ),
                type: type.map { EventType(rawValue: $0) ?? .unknown } ?? .message,
                rev: rev,
                isDeleted: isDeleted
            )
        }
    }
}

extension History.Window {
    var isNewestFirst: Bool {
        if case .before = self { true } else { false }
    }

    func contains(_ message: StoredMessage) -> Bool {
        switch self {
        case .before(let mid): mid.map { message.mid < $0 } ?? true
        case .after(let mid): message.mid > mid
        case .afterSequence(let seq): message.seq > seq || message.seq == seq && message.type != .message
        }
    }

    /// The first of these entries, which stand in the window's order. Entries without a seq of their own carry the one
    /// before them: those of the sequence number that a page begins after come with it, but only the newest ones, so
    /// that paging by sequence numbers always comes on.
    func page(_ messages: [StoredMessage], limit: Int) -> History.Page {
        guard case .afterSequence(let seq) = self else {
            return History.Page(messages: Array(messages.prefix(limit)), hasMore: messages.count > limit)
        }
        let (later, same) = (messages.filter { $0.seq > seq }, messages.filter { $0.seq == seq })
        let room = limit - min(same.count, limit / 2)
        return History.Page(
            messages: same.suffix(limit / 2) + later.prefix(room),
            hasMore: later.count > room
        )
    }
}
