import ParleyCore
import ParleyWire
import PostgresClient

/// The messages that PostgreSQL holds, read partition by partition: see `PartitionEdges`.
///
/// Every answer comes with the lane's position of the same moment. The reader knows the position of a moment before and
/// looks where that points to; the later one tells whether a later partition has got messages meanwhile.
struct ArchivedMessages: Sendable {
    let postgres: PostgresPool
    let partitions: PartitionMap

    init(postgres: PostgresPool) {
        self.postgres = postgres
        partitions = PartitionMap(postgres: postgres)
    }

    /// Which messages of a conversation are asked for.
    struct Question: Sendable {
        let conversation: ConversationID
        /// Message ids from the one to below the other.
        var lower: Int64 = 0
        var upper = Int64.max
        /// Sequence numbers above.
        var afterSequence: Int64 = -1
        /// Of a group, for `newest`: nothing but the changes that carry this number.
        var changesAt: Int64?
        let limit: Int
    }

    private struct Answer {
        let messages: [StoredMessage]
        /// How far the lane is archived.
        let position: Int64
    }

    /// The newest of those asked for, newest first.
    /// - Parameter archived: the lane's position, read before.
    func newest(_ question: Question, archived: Int64) async throws -> [StoredMessage] {
        var found: [StoredMessage] = []
        let ranges = try await partitions.edges()
            .descending(from: min(question.upper - 1, archived), to: question.lower)
        for (number, range) in ranges.enumerated() {
            let answer = try await ask(Self.newest(question, in: range))
            if number == 0, answer.position >= range.upperBound, question.upper > range.upperBound {
                let later = Self.newest(question, in: range.upperBound..<Int64.max)
                found += try await ask(later).messages
            }
            found += answer.messages
            // Nothing stands before the first message of two.
            if found.count >= question.limit || question.conversation.isDirect && found.last?.seq == 1 { break }
        }
        return found
    }

    /// The oldest of those asked for, oldest first.
    /// - Parameter archived: the lane's position, read before.
    func oldest(_ question: Question, archived: Int64) async throws -> [StoredMessage] {
        var found: [StoredMessage] = []
        for range in try await partitions.edges().ascending(from: question.lower, to: archived) {
            let answer = try await ask(Self.oldest(question, in: range))
            found += answer.messages
            if found.count >= question.limit || answer.position < range.upperBound { break }
        }
        return found
    }

    /// A message id before all messages above a sequence number, and not far before.
    func start(of conversation: ConversationID, after seq: Int64, archived: Int64) async throws -> Int64 {
        // The first message of two has nothing before it; entries of a group may share a number, the first has 0.
        let bound = conversation.isDirect ? max(seq, 1) + 1 : seq
        guard bound > 0 else { return 0 }
        for range in try await partitions.edges().descending(from: archived, to: 0) {
            let rows = try await postgres.query(Self.place(of: conversation, below: bound, in: range))
            let places: [Int64] = try rows.decode(Int64.self)
            if let place = places.first { return place }
        }
        return 0
    }

    /// The message that a sender committed under a cid, if it was at a message id of `earliest` or later.
    func find(
        _ cid: ClientMessageID,
        from sender: UserID,
        in conversation: ConversationID,
        earliest: Int64,
        archived: Int64
    ) async throws -> StoredMessage? {
        var range = try await partitions.edges().range(from: earliest, to: archived)
        while true {
            let answer = try await ask(Self.search(cid, from: sender, in: conversation, range))
            if let message = answer.messages.first { return message }
            guard answer.position >= range.upperBound else { return nil }
            range = range.upperBound..<Int64.max
        }
    }

    /// Entries by their ids, of those that are here.
    func entries(_ ids: [(ConversationID, MessageID)]) async throws -> [StoredMessage] {
        guard !ids.isEmpty else { return [] }
        return try await postgres.query(Self.entries(ids)).decode(StoredMessage.Columns.self)
            .compactMap(StoredMessage.init)
    }

    // MARK: Rows

    private func ask(_ query: PostgresQuery) async throws -> Answer {
        let rows = try await postgres.query(query).decode(StoredMessage.Columns.self)
        guard let position = rows.first?.0 else { throw PostgresError(.decoding, "lanes lacks a lane") }
        return Answer(messages: rows.compactMap(StoredMessage.init), position: position)
    }
}

extension StoredMessage {
    /// A lane's position, then a message as `ArchivedMessages` selects it; NULLs where there is none.
    fileprivate typealias Columns = (
        Int64, String?, Int64?, Int64?, String?, String?, String?, String?, Int64?, String?, Int64?, Bool?
    )

    fileprivate init?(_ columns: Columns) {
        let (_, id, mid, seq, sender, cid, body, data, replyTo, type, rev, isDeleted) = columns
        guard let id = id.flatMap({ ConversationID($0) }), let mid = mid.flatMap({ MessageID(rawValue: UInt64($0)) }),
            let sender = sender.flatMap({ UserID($0) }), let seq, let body
        else { return nil }
        self.init(
            conversation: id,
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
            isDeleted: isDeleted ?? false
        )
    }
}
