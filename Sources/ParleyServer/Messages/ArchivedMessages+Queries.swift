import ParleyCore
import ParleyWire
import PostgresClient

/// The SQL of reading history. Ranges of partitions stand in its text, since only then even a plan that is made once for
/// all parameters touches no other partition.
///
/// Each answers at least one row: without a message it holds the position alone.
extension ArchivedMessages {
    private static let columns =
        "conversation_id, message_id, seq, sender_id, cid, body, data, reply_to, type, rev, is_deleted"

    static func newest(_ question: Question, in range: Range<Int64>) -> PostgresQuery {
        """
        SELECT lanes.position, \(unescaped: columns) FROM lanes LEFT JOIN LATERAL (
            SELECT \(unescaped: columns) FROM messages
            WHERE conversation_id = \(question.conversation.description) AND \(unescaped: isIn(range))
                AND message_id >= \(question.lower) AND message_id < \(question.upper)
                AND (\(question.changesAt)::bigint IS NULL OR seq = \(question.changesAt) AND type IS NOT NULL)
            ORDER BY message_id DESC LIMIT \(Int64(question.limit))
        ) AS found ON true WHERE lanes.lane = \(lane(question.conversation))
        """
    }

    static func oldest(_ question: Question, in range: Range<Int64>) -> PostgresQuery {
        """
        SELECT lanes.position, \(unescaped: columns) FROM lanes LEFT JOIN LATERAL (
            SELECT \(unescaped: columns) FROM messages
            WHERE conversation_id = \(question.conversation.description) AND \(unescaped: isIn(range))
                AND message_id >= \(question.lower) AND message_id < \(question.upper)
                AND seq > \(question.afterSequence)
            ORDER BY message_id LIMIT \(Int64(question.limit))
        ) AS found ON true WHERE lanes.lane = \(lane(question.conversation))
        """
    }

    static func search(
        _ cid: ClientMessageID,
        from sender: UserID,
        in conversation: ConversationID,
        _ range: Range<Int64>
    ) -> PostgresQuery {
        """
        SELECT lanes.position, \(unescaped: columns) FROM lanes LEFT JOIN LATERAL (
            SELECT \(unescaped: columns) FROM messages
            WHERE conversation_id = \(conversation.description) AND \(unescaped: isIn(range))
                AND sender_id = \(sender.description) AND cid = \(cid.description)
        ) AS found ON true WHERE lanes.lane = \(lane(conversation))
        """
    }

    static func entries(_ ids: [(ConversationID, MessageID)]) -> PostgresQuery {
        """
        SELECT 0::bigint, \(unescaped: columns)
        FROM unnest(\(ids.map(\.0.description))::text[], \(ids.map { Int64($0.1.rawValue) })::bigint[]) AS asked(id, mid)
        CROSS JOIN LATERAL (
            SELECT \(unescaped: columns) FROM messages WHERE conversation_id = asked.id AND message_id = asked.mid
        ) AS found
        """
    }

    /// The last message below a sequence number.
    static func place(of conversation: ConversationID, below seq: Int64, in range: Range<Int64>) -> PostgresQuery {
        """
        SELECT message_id FROM messages
        WHERE conversation_id = \(conversation.description) AND \(unescaped: isIn(range)) AND seq < \(seq)
        ORDER BY seq DESC LIMIT 1
        """
    }

    private static func isIn(_ range: Range<Int64>) -> String {
        "message_id >= \(range.lowerBound) AND message_id < \(range.upperBound)"
    }

    private static func lane(_ conversation: ConversationID) -> Int32 { Int32(Lane(of: conversation).number) }
}
