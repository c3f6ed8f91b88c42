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
    let groups: GroupOutbox
    let groupHistory: GroupConfiguration.History

    enum Refusal: Error, Hashable {
        /// No such conversation, no such user, or nothing that this user may know of.
        case notFound
        /// This user was a member of the group once.
        case notMember
        /// This user may not write to the other.
        case forbidden
        /// Redis is in another epoch than this process knows.
        case epochChanged
    }

    /// Makes a group ready for sends of a member in this epoch.
    /// - Throws: `Refusal`, or what a store says.
    func prepareGroup(_ group: ConversationID, for user: UserID) async throws -> Roster {
        try await requireMember(user, of: group)
        do {
            return try await groups.settle(group)
        } catch GroupOutbox.Failure.noSuchGroup {
            throw Refusal.notFound
        } catch GroupOutbox.Failure.epochChanged {
            throw Refusal.epochChanged
        }
    }

    /// Makes a direct conversation ready for sends in this epoch, opening one that does not exist if the user may write.
    /// One whose other member is gone is not found.
    ///
    /// - Returns: the membership's version.
    /// - Throws: `Refusal`, or what a store says.
    func prepare(_ conversation: ConversationID, for user: UserID) async throws -> Int64 {
        guard let peer = conversation.peer(of: user) else { throw Refusal.notFound }
        let rights = try await open(conversation, user, peer)
        let floor = try await SequenceFloor(of: conversation, history, epochs)
        // Before the seed: without that, nothing is committed.
        _ = try await redis.send(rights.command, repeatable: true)
        let answer = try await redis.send(
            RedisFunctions.call(
                "seed",
                keys: [Keys.conversation(conversation), Keys.epoch],
                [floor.epoch, "1", String(floor.last), String(floor.jump)]
            )
        )
        guard let text = answer.string, text.hasPrefix("seeded "), let seq = Int64(text.dropFirst(7)) else {
            throw Refusal.epochChanged
        }
        try await floor.record(seq, of: conversation, in: postgres)
        return 1
    }

    /// - Returns: who may write, as of a moment in which the conversation existed: later changes are brought to Redis.
    private func open(_ conversation: ConversationID, _ user: UserID, _ peer: UserID) async throws -> WriteRights {
        let (id, relations) = (conversation.description, RelationStore(postgres: postgres))
        let both = [user.description, peer.description]
        guard let rights = try await relations.rights(in: [conversation]).first else { throw Refusal.notFound }
        if rights.isOpen { return rights }
        guard rights.mayWrite(user) else { throw Refusal.forbidden }
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
        guard let rights = try await relations.rights(in: [conversation]).first else { throw Refusal.notFound }
        return rights
    }

    /// A user's place in a conversation.
    struct Membership: Sendable, Hashable {
        /// Of a group.
        var joined: GroupSnapshot.Joined?
        /// What came before their joining is not for them.
        var beginsAtJoining = false

        /// The last sequence number before their joining.
        var joinedSeq: Int64 { joined?.seq ?? 0 }
        /// nil for everything.
        var firstVisible: MessageID? { beginsAtJoining ? joined?.mid : nil }
        func shows(_ message: StoredMessage) -> Bool { firstVisible.map { message.mid >= $0 } ?? true }
    }

    /// - Throws: `Refusal` for whoever is not in it, or what a store says.
    func membership(of user: UserID, in conversation: ConversationID) async throws -> Membership {
        let archived = try await requireMember(user, of: conversation)
        if conversation.isDirect { return Membership() }
        guard let membership = try await membership(of: user, in: conversation, archived: archived) else {
            // Removed meanwhile, mostly.
            try await requireMember(user, of: conversation)
            throw Refusal.epochChanged
        }
        return membership
    }

    /// - Parameter archived: where a member of a group joined, if history has the entry.
    /// - Returns: nil if they were removed meanwhile.
    func membership(
        of user: UserID,
        in group: ConversationID,
        archived: GroupSnapshot.Joined?
    ) async throws -> Membership? {
        var joined = archived
        if joined == nil {
            // Redis knows it, or gets to know it now.
            try await groups.settle(group)
            joined = try await groups.joining(of: user, in: group)
        }
        return joined.map { Membership(joined: $0, beginsAtJoining: groupHistory == .joining) }
    }

    /// - Returns: of a group where the user joined, as far as that is archived.
    /// - Throws: `Refusal` for whoever is not in it, or what the database says.
    @discardableResult
    func requireMember(_ user: UserID, of conversation: ConversationID) async throws -> GroupSnapshot.Joined? {
        switch try await groups.store.standing(of: user, in: conversation) {
        case .member(let joined): return joined
        case .former: throw Refusal.notMember
        case .stranger: throw Refusal.notFound
        }
    }
}
