import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient

/// Conversations: who is in them (PostgreSQL), and their live state (Redis).
struct ConversationStore: Sendable {
    let postgres: PostgresPool
    let redis: RedisClient
    let history: History
    let epochs: EpochKeeper

    enum Refusal: Error, Hashable {
        /// No such conversation, no such user, or nothing that this user may know of.
        case notFound
        /// Redis is in another epoch than this process knows.
        case epochChanged
    }

    /// Makes a conversation ready for sends in this epoch, opening a direct one that does not exist. One whose other
    /// member is gone is not found.
    ///
    /// - Returns: the membership's version.
    /// - Throws: `Refusal`, or what a store says.
    func prepare(_ conversation: ConversationID, for user: UserID) async throws -> Int {
        guard let peer = conversation.peer(of: user) else { throw Refusal.notFound }
        try await open(conversation, user, peer)
        let epoch = epochs.epoch
        let jump = epochs.sequenceJump
        // Read before Redis's own state is looked at: what commits meanwhile is counted there.
        let last = try await history.lastSequence(of: conversation)
        let answer = try await redis.send(
            RedisFunctions.call(
                "seed",
                keys: [Keys.conversation(conversation), Keys.epoch],
                [epoch, "1", String(last), String(jump)]
            )
        )
        guard let text = answer.string, text.hasPrefix("seeded ") else { throw Refusal.epochChanged }
        if jump > 0, let seq = Int64(text.dropFirst(7)), seq >= last + Int64(jump) {
            _ = try await postgres.query(
                """
                INSERT INTO conversation_jumps (conversation_id, after_seq, to_seq, epoch)
                VALUES (\(conversation.description), \(last), \(seq), \(epoch)) ON CONFLICT DO NOTHING
                """
            )
        }
        return 1
    }

    private func open(_ conversation: ConversationID, _ user: UserID, _ peer: UserID) async throws {
        let id = conversation.description
        let both = [user.description, peer.description]
        let found = try await postgres.query(
            """
            SELECT (SELECT count(*) FROM users WHERE id = ANY(\(both)::text[])),
                (SELECT count(*) FROM conversations WHERE id = \(id))
            """
        )
        guard let (users, known) = try found.decode((Int64, Int64).self).first, users == 2 else {
            throw Refusal.notFound
        }
        guard known == 0 else { return }
        try await postgres.transaction { connection in
            // Held: who is deleted from now on is deleted with this conversation.
            let users = try await connection.query(
                "SELECT id FROM users WHERE id = ANY(\(both)::text[]) ORDER BY id FOR KEY SHARE"
            )
            guard users.count == 2 else { throw Refusal.notFound }
            _ = try await connection.query(
                "INSERT INTO conversations (id, kind, created_at) VALUES (\(id), 'direct', now_ms()) ON CONFLICT DO NOTHING"
            )
            _ = try await connection.query(
                """
                INSERT INTO conversation_members (conversation_id, user_id, joined_at)
                SELECT \(id), member, now_ms() FROM unnest(\(both)::text[]) AS member
                ON CONFLICT DO NOTHING
                """
            )
        }
    }

    func isMember(_ user: UserID, of conversation: ConversationID) async throws -> Bool {
        let rows = try await postgres.query(
            """
            SELECT count(*) FROM conversation_members
            WHERE conversation_id = \(conversation.description) AND user_id = \(user.description)
            """
        )
        let count: [Int64] = try rows.decode(Int64.self)
        return count.first == 1
    }

    /// A user's view of a conversation.
    struct Summary: Sendable {
        let conversation: ConversationID
        let members: [UserID]
        let last: StoredMessage?
        /// Up to where each member has read, and got delivered; by their live state.
        let read: [UserID: Int64]
        let delivered: [UserID: Int64]
        let unread: Int64
    }

    /// All conversations of a user that have a message, the most recently written first, a page of them.
    func list(of user: UserID, before cursor: MessageID?, limit: Int) async throws -> (
        page: [Summary], next: MessageID?
    ) {
        let rows = try await postgres.query(
            "SELECT conversation_id FROM conversation_members WHERE user_id = \(user.description)"
        )
        let ids: [String] = try rows.decode(String.self)
        let last = try await history.lastMessages(of: ids.compactMap { ConversationID($0) })
        let ordered = last.values.filter { message in cursor.map { message.mid < $0 } ?? true }.sorted {
            $0.mid > $1.mid
        }
        let page = ordered.prefix(limit)
        var summaries: [Summary] = []
        for message in page { summaries.append(try await summary(message.conversation, last: message, for: user)) }
        return (summaries, ordered.count > limit ? page.last?.mid : nil)
    }

    /// nil for a conversation that the user is not in.
    func summary(of conversation: ConversationID, for user: UserID) async throws -> Summary? {
        guard try await isMember(user, of: conversation) else { return nil }
        return try await summary(conversation, last: history.lastMessages(of: [conversation])[conversation], for: user)
    }

    private func summary(_ conversation: ConversationID, last: StoredMessage?, for user: UserID) async throws -> Summary
    {
        let members = conversation.members.map { [$0.lo, $0.hi] } ?? []
        let fields = members.flatMap { ["read:\($0)", "delivered:\($0)"] }
        let reply = try await redis.send(RedisCommand(["HMGET", Keys.conversation(conversation)] + fields))
        let positions = (reply.array ?? []).map { $0.integer ?? 0 }
        var (read, delivered): ([UserID: Int64], [UserID: Int64]) = ([:], [:])
        for (index, member) in members.enumerated() where positions.count == fields.count {
            read[member] = positions[2 * index]
            delivered[member] = max(positions[2 * index], positions[2 * index + 1])
        }
        // Sequence numbers that lost data left out are nobody's unread.
        let seen = read[user] ?? 0
        let jumps = try await postgres.query(
            """
            SELECT coalesce(sum(to_seq - greatest(after_seq, \(seen))), 0)::bigint FROM conversation_jumps
            WHERE conversation_id = \(conversation.description) AND to_seq > \(seen)
            """
        )
        let skipped: [Int64] = try jumps.decode(Int64.self)
        return Summary(
            conversation: conversation,
            members: members,
            last: last,
            read: read,
            delivered: delivered,
            unread: max(0, (last?.seq ?? 0) - seen - (skipped.first ?? 0))
        )
    }
}
