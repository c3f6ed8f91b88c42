import ParleyCore
import ParleyWire
import PostgresClient

enum HistoryError: Error {
    /// So much waits for the archive that the commit log cannot be searched in a request's time.
    case backlogTooLong
    /// The answer may have been in what retention has dropped.
    case beyondRetention
}

/// The messages of conversations: the archive in PostgreSQL, and what of the commit log is not archived yet.
///
/// History is never behind an acknowledgement. The archived position is read first, then the lane after it, then
/// PostgreSQL: whatever moves from one to the other meanwhile is seen in PostgreSQL, and the union drops repeats.
struct History: Sendable {
    let postgres: PostgresPool
    let commitLog: CommitLog
    let positions: ArchivePositions
    let archive: ArchivedMessages

    init(postgres: PostgresPool, commitLog: CommitLog, positions: ArchivePositions) {
        self.postgres = postgres
        self.commitLog = commitLog
        self.positions = positions
        archive = ArchivedMessages(postgres: postgres)
    }

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
        let stored = try await archivedMessages(of: conversation, window, floor, Int64(archived), limit: limit + 1)
        messages += stored.filter { !unarchived.contains($0.mid) }
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
        if found.isEmpty { found = try await archive.entries([(conversation, mid)]) }
        found.apply(changes)
        return found.first
    }

    /// Before all messages.
    static let beginning: MessageID = {
        guard let mid = MessageID(rawValue: 0) else { preconditionFailure("0 is below 2^63") }
        return mid
    }()

    private func archivedMessages(
        of conversation: ConversationID,
        _ window: Window,
        _ floor: MessageID?,
        _ archived: Int64,
        limit: Int
    ) async throws -> [StoredMessage] {
        var question = ArchivedMessages.Question(conversation: conversation, limit: limit)
        question.lower = Int64(floor?.rawValue ?? 0)
        switch window {
        case .before(let mid):
            if let mid { question.upper = Int64(mid.rawValue) }
            return try await archive.newest(question, archived: archived)
        case .after(let mid): question.lower = max(question.lower, Int64(clamping: mid.rawValue + 1))
        case .afterSequence(let seq):
            question.afterSequence = seq
            let start = try await archive.start(of: conversation, after: seq, archived: archived)
            question.lower = max(question.lower, start)
            let later = try await archive.oldest(question, archived: archived)
            guard !conversation.isDirect else { return later }
            // Changes of a group carry the number before them, so those of this one come too.
            question.upper = later.first.map { Int64($0.mid.rawValue) } ?? question.upper
            question.changesAt = seq
            return try await archive.newest(question, archived: archived) + later
        }
        return try await archive.oldest(question, archived: archived)
    }

    /// What a sender committed under a cid.
    struct Commit: Sendable {
        let mid: MessageID
        let seq: Int64
        /// nil for a message whose first content is gone, since it was changed.
        let contentHash: String?
    }

    /// How far a commit may stand before the time of its cid: the commit refuses those from further ahead.
    private static let clientClockLead: Int64 = 86_400_000

    /// What a sender committed under a cid, however long ago.
    /// - Throws: `HistoryError`; what a store says.
    func find(_ cid: ClientMessageID, from sender: UserID, in conversation: ConversationID) async throws -> Commit? {
        let lane = Lane(of: conversation)
        let archived = try await positions.position(of: lane)
        let recent = try await commitLog.tail(of: lane, after: archived) {
            $0.cid == cid && $0.sender == sender && $0.conversation == conversation
        }
        if let found = recent.first {
            return Commit(mid: found.mid, seq: found.seq, contentHash: found.contentHash)
        }
        let earliest = MessageID.lowest(at: cid.milliseconds - Self.clientClockLead)
        let found = try await archive.find(
            cid,
            from: sender,
            in: conversation,
            earliest: earliest,
            archived: Int64(archived)
        )
        if let found {
            return Commit(mid: found.mid, seq: found.seq, contentHash: found.rev == nil ? found.content.hash : nil)
        }
        let changes = try await postgres.query(
            """
            SELECT change_id, seq, content_hash FROM message_changes
            WHERE conversation_id = \(conversation.description) AND sender_id = \(sender.description)
                AND cid = \(cid.description)
            """
        )
        if let (change, seq, hash) = try changes.decode((Int64, Int64, String).self).first,
            let mid = MessageID(rawValue: UInt64(change))
        {
            return Commit(mid: mid, seq: seq, contentHash: hash)
        }
        // Read after the search: what is dropped from now on was not what was looked for.
        let rows = try await postgres.query("SELECT dropped_below FROM retention")
        let dropped: [Int64] = try rows.decode(Int64.self)
        guard dropped.first ?? 0 <= earliest else { throw HistoryError.beyondRetention }
        return nil
    }

    /// The highest sequence number of a conversation, 0 for none; also that of a message which retention has dropped.
    func lastSequence(of conversation: ConversationID) async throws -> Int64 {
        let newest = try await page(of: conversation, .before(nil), limit: 1).messages.first?.seq ?? 0
        let rows = try await postgres.query(
            """
            SELECT coalesce(max(to_seq), 0) FROM conversation_jumps
            WHERE conversation_id = \(conversation.description)
            """
        )
        let skipped: [Int64] = try rows.decode(Int64.self)
        return max(newest, skipped.first ?? 0)
    }
}

extension MessageID {
    /// The lowest message id of a time in milliseconds since 1970, 0 before all of them.
    static func lowest(at milliseconds: Int64) -> Int64 {
        Int64(MessageID(unixMilliseconds: milliseconds, lane: 0, sequence: 0)?.rawValue ?? 0)
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
