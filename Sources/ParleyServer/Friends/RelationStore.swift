import ParleyWire
import PostgresClient

/// What users are to each other, in PostgreSQL, where every change begins: with its outbox rows in one transaction.
struct RelationStore: Sendable {
    let postgres: PostgresPool

    // MARK: Changes

    /// Does what a user wants with another, if they may.
    /// - Returns: what the two are afterwards, and whether anything changed.
    /// - Throws: `Relation.Refusal`; what the database says.
    func perform(
        _ action: Relation.Action,
        by me: UserID,
        toward other: UserID,
        limits: FriendConfiguration = .init()
    ) async throws -> (relation: Relation, hasChanged: Bool) {
        try await postgres.transaction(attempts: 3) { connection in
            guard try await Self.hold([me, other], on: connection) == 2 else { throw Relation.Refusal.noUser }
            return try await Self.perform(action, me, other, limits, on: connection)
        }
    }

    /// Ends what a user has with others, of a hundred of these.
    /// - Returns: the others; none when nothing is left.
    func endSome(of user: UserID) async throws -> [UserID] {
        try await postgres.transaction(attempts: 3) { connection in
            let me = user.description
            let rows = try await connection.query(
                """
                SELECT hi_id FROM friendships WHERE lo_id = \(me) UNION SELECT lo_id FROM friendships WHERE hi_id = \(me)
                UNION SELECT to_id FROM friend_requests WHERE from_id = \(me)
                UNION SELECT from_id FROM friend_requests WHERE to_id = \(me) LIMIT 100
                """
            )
            let others = try rows.decode(String.self).compactMap { UserID($0) }
            _ = try await Self.hold([user] + others, on: connection)
            for other in others { _ = try await Self.perform(.leave, user, other, .init(), on: connection) }
            return others
        }
    }

    /// Holds users against other changes until the transaction ends. All take them in the same order, so nobody waits
    /// for somebody who waits for them.
    /// - Returns: how many of them exist.
    private static func hold(_ users: [UserID], on connection: PostgresConnection) async throws -> Int {
        try await connection.query(
            """
            SELECT id FROM users WHERE id = ANY(\(users.map(\.description))::text[])
            ORDER BY id FOR NO KEY UPDATE
            """
        ).affected
    }

    private static func perform(
        _ action: Relation.Action,
        _ me: UserID,
        _ other: UserID,
        _ limits: FriendConfiguration,
        on connection: PostgresConnection
    ) async throws -> (relation: Relation, hasChanged: Bool) {
        let before = try await relation(of: me, to: other, on: connection)
        var after = before
        let notices = try after.perform(action)
        guard after != before else { return (after, false) }
        if after.areFriends, !before.areFriends {
            try await requireRoom(for: me, other, limits.friendLimit, on: connection)
        } else if after.isAsking, !before.isAsking {
            try await requireRoom(forRequestOf: me, limits.requestLimit, on: connection)
        }
        try await store(after, before, me, other, on: connection)
        if !after.hasRights(of: before) {
            _ = try await connection.query(
                """
                UPDATE users SET relations_version = relations_version + 1
                WHERE id = ANY(\([me.description, other.description])::text[])
                """
            )
            try await note(subject: ConversationID.direct(me, other).description, on: connection)
        }
        for notice in notices { try await add(notice, me, other, on: connection) }
        return (after, true)
    }

    private static func relation(of me: UserID, to other: UserID, on connection: PostgresConnection) async throws
        -> Relation
    {
        let (me, other) = (me.description, other.description)
        let rows = try await connection.query(
            """
            SELECT EXISTS (SELECT 1 FROM friendships WHERE lo_id = \(min(me, other)) AND hi_id = \(max(me, other))),
                EXISTS (SELECT 1 FROM friend_requests WHERE from_id = \(me) AND to_id = \(other)),
                EXISTS (SELECT 1 FROM friend_requests WHERE from_id = \(other) AND to_id = \(me)),
                EXISTS (SELECT 1 FROM blocks WHERE blocker_id = \(me) AND blocked_id = \(other)),
                EXISTS (SELECT 1 FROM blocks WHERE blocker_id = \(other) AND blocked_id = \(me))
            """
        )
        let found = try rows.decode((Bool, Bool, Bool, Bool, Bool).self)[0]
        return Relation(
            areFriends: found.0,
            isAsking: found.1,
            isAsked: found.2,
            isBlocking: found.3,
            isBlocked: found.4
        )
    }

    private static func requireRoom(
        for me: UserID,
        _ other: UserID,
        _ limit: Int,
        on connection: PostgresConnection
    ) async throws {
        for user in [me, other] {
            let id = user.description
            let rows = try await connection.query(
                """
                SELECT (SELECT count(*) FROM friendships WHERE lo_id = \(id))
                    + (SELECT count(*) FROM friendships WHERE hi_id = \(id))
                """
            )
            guard try rows.decode(Int64.self)[0] < limit else {
                throw Relation.Refusal.full(limit: limit, ofRequests: false, isMine: user == me)
            }
        }
    }

    private static func requireRoom(
        forRequestOf me: UserID,
        _ limit: Int,
        on connection: PostgresConnection
    ) async throws {
        let rows = try await connection.query(
            "SELECT count(*) FROM friend_requests WHERE from_id = \(me.description)"
        )
        guard try rows.decode(Int64.self)[0] < limit else {
            throw Relation.Refusal.full(limit: limit, ofRequests: true, isMine: true)
        }
    }

    private static func store(
        _ after: Relation,
        _ before: Relation,
        _ me: UserID,
        _ other: UserID,
        on connection: PostgresConnection
    ) async throws {
        let (my, their) = (me.description, other.description)
        if after.areFriends != before.areFriends {
            let (lo, hi) = (min(my, their), max(my, their))
            _ = try await connection.query(
                after.areFriends
                    ? "INSERT INTO friendships (lo_id, hi_id, since) VALUES (\(lo), \(hi), now_ms())"
                    : "DELETE FROM friendships WHERE lo_id = \(lo) AND hi_id = \(hi)"
            )
        }
        if after.isBlocking != before.isBlocking {
            _ = try await connection.query(
                after.isBlocking
                    ? "INSERT INTO blocks (blocker_id, blocked_id, at) VALUES (\(my), \(their), now_ms())"
                    : "DELETE FROM blocks WHERE blocker_id = \(my) AND blocked_id = \(their)"
            )
        }
        if after.isAsking, !before.isAsking {
            _ = try await connection.query(
                "INSERT INTO friend_requests (from_id, to_id, at) VALUES (\(my), \(their), now_ms())"
            )
        }
        for (from, to, has, had) in [
            (my, their, after.isAsking, before.isAsking), (their, my, after.isAsked, before.isAsked),
        ] where had && !has {
            _ = try await connection.query(
                "DELETE FROM friend_requests WHERE from_id = \(from) AND to_id = \(to)"
            )
        }
    }

    // MARK: Settings

    /// Sets who may write to a user, with an outbox row where that is a change.
    static func set(_ mayWrite: MayWrite, of user: UserID, on connection: PostgresConnection) async throws {
        let changed = try await connection.query(
            """
            UPDATE users SET may_write = \(mayWrite.rawValue), relations_version = relations_version + 1
            WHERE id = \(user.description) AND may_write <> \(mayWrite.rawValue)
            """
        )
        if changed.affected == 1 { try await note(subject: user.description, on: connection) }
    }

    // MARK: Who may write

    /// - Returns: of each direct conversation, unless one of the two does not exist; all as of one moment.
    func rights(in conversations: [ConversationID]) async throws -> [WriteRights] {
        try await Self.decode(postgres.query(Self.rights(in: conversations)))
    }

    /// Those of the users whom another may not write to.
    static func unreachable(for user: UserID, among others: [UserID], on connection: PostgresConnection) async throws
        -> [UserID]
    {
        // Blocks and friendships with this user wait until the transaction ends.
        _ = try await connection.query("SELECT id FROM users WHERE id = \(user.description) FOR SHARE")
        let conversations = others.map { ConversationID.direct(user, $0) }
        return try await decode(connection.query(rights(in: conversations)))
            .filter { !$0.mayWrite(user) }.compactMap { $0.conversation.peer(of: user) }
    }

    /// One statement, so that a reading is of one moment.
    private static func rights(in conversations: [ConversationID]) -> PostgresQuery {
        let pairs = conversations.compactMap(\.members)
        return """
            SELECT lo.id, hi.id, lo.relations_version + hi.relations_version, lo.may_write, hi.may_write,
                EXISTS (SELECT 1 FROM friendships WHERE lo_id = lo.id AND hi_id = hi.id),
                EXISTS (SELECT 1 FROM blocks WHERE blocker_id = lo.id AND blocked_id = hi.id)
                    OR EXISTS (SELECT 1 FROM blocks WHERE blocker_id = hi.id AND blocked_id = lo.id),
                EXISTS (SELECT 1 FROM conversations WHERE conversations.id = 'd:' || lo.id || ':' || hi.id)
            FROM unnest(\(pairs.map(\.lo.description))::text[], \(pairs.map(\.hi.description))::text[]) AS pair (a, b)
            JOIN users AS lo ON lo.id = a JOIN users AS hi ON hi.id = b
            """
    }

    private static func decode(_ rows: PostgresRows) throws -> [WriteRights] {
        typealias Columns = (String, String, Int64, String, String, Bool, Bool, Bool)
        return try rows.decode(Columns.self).map { lo, hi, version, loTakes, hiTakes, areFriends, isBlocked, isOpen in
            guard let lo = UserID(lo), let hi = UserID(hi), let loTakes = MayWrite(rawValue: loTakes),
                let hiTakes = MayWrite(rawValue: hiTakes)
            else { throw PostgresError(.decoding, "users holds a setting that is not known") }
            return WriteRights(
                conversation: .direct(lo, hi),
                version: version,
                closed: WriteRights.closed(lo, loTakes, hi, hiTakes, areFriends: areFriends, isBlocked: isBlocked),
                isOpen: isOpen
            )
        }
    }

    /// Direct conversations of a user, in order, a page of them.
    func directConversations(of user: UserID, after last: ConversationID?, limit: Int) async throws -> [ConversationID]
    {
        let rows = try await postgres.query(
            """
            SELECT conversation_id FROM conversation_members
            WHERE user_id = \(user.description) AND conversation_id > \(last?.description ?? "d:")
              AND conversation_id < 'd;'
            ORDER BY conversation_id LIMIT \(limit)
            """
        )
        return try rows.decode(String.self).compactMap { ConversationID($0) }
    }
}
