import ParleyWire
import PostgresClient

/// From where a conversation counts in an epoch: read before Redis's own state is looked at, since what commits
/// meanwhile is counted there.
struct SequenceFloor: Sendable {
    let epoch: String
    /// The highest sequence number in history.
    let last: Int64
    /// What is to be left out, because data was lost.
    let jump: Int

    init(of conversation: ConversationID, _ history: History, _ epochs: EpochKeeper) async throws {
        epoch = epochs.epoch
        jump = epochs.sequenceJump
        last = try await history.lastSequence(of: conversation)
    }

    /// Notes that the sequence went on at `seq`, if it jumped: neither a gap nor unread.
    func record(_ seq: Int64, of conversation: ConversationID, in postgres: PostgresPool) async throws {
        guard jump > 0, seq >= last + Int64(jump) else { return }
        _ = try await postgres.query(
            """
            INSERT INTO conversation_jumps (conversation_id, after_seq, to_seq, epoch)
            VALUES (\(conversation.description), \(last), \(seq), \(epoch)) ON CONFLICT DO NOTHING
            """
        )
    }
}
