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
        var messages: [StoredMessage] = []
        let archived = try await positions.position(of: lane)
        // Older than everything in the log: the archive alone decides.
        if case .before(let mid?) = window, mid.rawValue <= archived {
        } else {
            messages = try await commitLog.tail(of: lane, after: archived) {
                $0.conversation == conversation && window.contains($0) && $0.mid >= floor ?? $0.mid
            }
        }
        let unarchived = Set(messages.map(\.mid))
        let stored = try await archivedMessages(of: conversation, window, floor, Int64(archived), limit: limit + 1)
        messages += stored.filter { !unarchived.contains($0.mid) }
        messages.sort { window.isNewestFirst ? $0.mid > $1.mid : $0.mid < $1.mid }
        return Page(messages: Array(messages.prefix(limit)), hasMore: messages.count > limit)
    }

    /// Before all messages.
    static let beginning: MessageID = {
        guard let mid = MessageID(rawValue: 0) else { preconditionFailure("0 is below 2^63") }
        return mid
    }()

    /// The archive's messages after one, oldest first: all of them, unless there are as many as asked for. What the commit
    /// log holds comes after them.
    func archived(
        of conversation: ConversationID,
        after mid: MessageID,
        from floor: MessageID?,
        limit: Int
    ) async throws -> [StoredMessage] {
        let archived = try await positions.position(of: Lane(of: conversation))
        return try await archivedMessages(of: conversation, .after(mid), floor, Int64(archived), limit: limit)
    }

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
        }
        return try await archive.oldest(question, archived: archived)
    }

    /// How far a commit may stand before the time of its cid: the commit refuses those from further ahead.
    private static let clientClockLead: Int64 = 86_400_000

    /// The message that a sender committed under a cid, however long ago.
    /// - Throws: `HistoryError`; what a store says.
    func find(_ cid: ClientMessageID, from sender: UserID, in conversation: ConversationID) async throws
        -> StoredMessage?
    {
        let lane = Lane(of: conversation)
        let archived = try await positions.position(of: lane)
        let recent = try await commitLog.tail(of: lane, after: archived) {
            $0.cid == cid && $0.sender == sender && $0.conversation == conversation
        }
        if let found = recent.first { return found }
        let earliest = MessageID.lowest(at: cid.milliseconds - Self.clientClockLead)
        let found = try await archive.find(
            cid,
            from: sender,
            in: conversation,
            earliest: earliest,
            archived: Int64(archived)
        )
        if let found { return found }
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

    /// The newest message of each of these conversations that has one.
    func lastMessages(of conversations: [ConversationID]) async throws -> [ConversationID: StoredMessage] {
        var last: [ConversationID: StoredMessage] = [:]
        let wanted = Set(conversations)
        let archived = try await positions.all()
        let lanes = Set(conversations.map(Lane.init(of:)))
        try await withThrowingTaskGroup(of: [StoredMessage].self) { group in
            for lane in lanes {
                group.addTask {
                    try await commitLog.tail(of: lane, after: archived[lane.number]) {
                        wanted.contains($0.conversation)
                    }
                }
            }
            for try await messages in group {
                for message in messages { last[message.conversation] = message }
            }
        }
        let missing = conversations.filter { last[$0] == nil }
        let newest = lanes.map { Int64(archived[$0.number]) }.max() ?? 0
        return last.merging(try await archive.last(of: missing, archived: newest)) { unarchived, _ in unarchived }
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
        case .afterSequence(let seq): message.seq > seq
        }
    }
}
