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
            let answer = try await ask(Self.newest(question, in: range), question.conversation)
            if number == 0, answer.position >= range.upperBound, question.upper > range.upperBound {
                let later = Self.newest(question, in: range.upperBound..<Int64.max)
                found += try await ask(later, question.conversation).messages
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
            let answer = try await ask(Self.oldest(question, in: range), question.conversation)
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
            let answer = try await ask(Self.search(cid, from: sender, in: conversation, range), conversation)
            if let message = answer.messages.first { return message }
            guard answer.position >= range.upperBound else { return nil }
            range = range.upperBound..<Int64.max
        }
    }

    /// The newest message of each of these conversations that has one.
    /// - Parameter archived: the highest position of their lanes, read before.
    func last(of conversations: [ConversationID], archived: Int64) async throws -> [ConversationID: StoredMessage] {
        var last: [ConversationID: StoredMessage] = [:]
        var missing = conversations
        for (number, range) in try await partitions.edges().descending(from: archived, to: 0).enumerated() {
            guard !missing.isEmpty else { break }
            var (found, position) = try await askLast(of: missing, in: range)
            if number == 0, position >= range.upperBound {
                found += try await askLast(of: missing, in: range.upperBound..<Int64.max).found
            }
            for message in found { last[message.conversation] = message }
            missing = missing.filter { last[$0] == nil }
        }
        return last
    }

    // MARK: Rows

    private func ask(_ query: PostgresQuery, _ conversation: ConversationID) async throws -> Answer {
        typealias Columns = (Int64, Int64?, Int64?, String?, String?, String?, String?, Int64?)
        let rows = try await postgres.query(query).decode(Columns.self)
        guard let position = rows.first?.0 else { throw PostgresError(.decoding, "lanes lacks a lane") }
        let messages = rows.compactMap { _, mid, seq, sender, cid, body, data, replyTo in
            StoredMessage(conversation, mid, seq, sender, cid: cid, body, data: data, replyTo: replyTo)
        }
        return Answer(messages: messages, position: position)
    }

    private func askLast(
        of conversations: [ConversationID],
        in range: Range<Int64>
    ) async throws -> (found: [StoredMessage], position: Int64) {
        typealias Columns = (Int64, String, Int64?, Int64?, String?, String?)
        let rows = try await postgres.query(Self.last(of: conversations, in: range)).decode(Columns.self)
        let messages = rows.compactMap { _, id, mid, seq, sender, body in
            ConversationID(id).flatMap { StoredMessage($0, mid, seq, sender, body) }
        }
        return (messages, rows.first?.0 ?? 0)
    }
}

extension StoredMessage {
    /// nil for the row that stands for no message, where the database has none to a question.
    fileprivate init?(
        _ conversation: ConversationID,
        _ mid: Int64?,
        _ seq: Int64?,
        _ sender: String?,
        cid: String? = nil,
        _ body: String?,
        data: String? = nil,
        replyTo: Int64? = nil
    ) {
        guard let mid = mid.flatMap({ MessageID(rawValue: UInt64($0)) }), let seq, let body,
            let sender = sender.flatMap({ UserID($0) })
        else { return nil }
        let content = MessageContent(
            body: body,
            data: data,
            replyTo: replyTo.flatMap { MessageID(rawValue: UInt64($0)) }
        )
        self.init(
            conversation: conversation,
            mid: mid,
            seq: seq,
            sender: sender,
            cid: cid.flatMap { ClientMessageID($0) },
            content: content
        )
    }
}
