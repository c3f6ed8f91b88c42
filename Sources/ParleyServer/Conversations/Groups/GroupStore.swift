import ParleyWire
import PostgresClient

/// Groups in PostgreSQL, where every change begins: the change and its outbox row are one transaction.
struct GroupStore: Sendable {
    let postgres: PostgresPool

    /// What a user is to a group.
    enum Standing: Sendable, Hashable {
        /// nil until the entry of their joining is archived.
        case member(joined: GroupSnapshot.Joined?)
        case former, stranger
    }

    enum Creation: Sendable, Hashable {
        case created, repeated
        /// The group was created with other content.
        case conflict
    }

    /// One of the users does not exist.
    struct UnknownUser: Error {}

    /// Creates a group, once.
    /// - Parameters:
    ///   - members: the creator first, each once.
    ///   - contentHash: what a repeat must bring too.
    /// - Throws: `UnknownUser`; `Group.Refusal.forbidden` for members whom the creator may not write to; what the
    ///   database says.
    func create(
        _ group: ConversationID,
        title: GroupTitle,
        members: [UserID],
        contentHash: String
    ) async throws -> Creation {
        let (id, users) = (group.description, members.map(\.description))
        return try await postgres.transaction { connection in
            let added = try await connection.query(
                """
                INSERT INTO conversations (id, kind, title, created_by, creation_hash, created_at)
                VALUES (\(id), 'group', \(title.text), \(users[0]), \(contentHash), now_ms()) ON CONFLICT DO NOTHING
                """
            )
            guard added.affected == 1 else {
                let rows = try await connection.query("SELECT creation_hash FROM conversations WHERE id = \(id)")
                let hashes: [String?] = try rows.decode(String?.self)
                return hashes.first == contentHash ? .repeated : .conflict
            }
            let found = try await connection.query(
                "SELECT count(*) FROM users WHERE id = ANY(\(users)::text[])"
            )
            let count: [Int64] = try found.decode(Int64.self)
            guard count.first == Int64(users.count) else { throw UnknownUser() }
            try await Self.requireReach(of: members[0], to: Array(members.dropFirst()), on: connection)
            _ = try await connection.query(
                """
                INSERT INTO conversation_members (conversation_id, user_id, joined_at, role)
                SELECT \(id), member, now_ms(), CASE member WHEN \(users[0]) THEN 'owner' ELSE 'member' END
                FROM unnest(\(users)::text[]) AS member
                """
            )
            let change = GroupChange(
                version: 1,
                actor: members[0],
                kind: .created(title: title.text, members: members)
            )
            try await Self.record([change], of: group, on: connection)
            return .created
        }
    }

    /// Does what an actor wants, if they may. One change of a group at a time.
    /// - Throws: `Group.Refusal`, `UnknownUser`; what the database says.
    func perform(_ action: Group.Action, by actor: UserID, in group: ConversationID, limit: Int) async throws {
        var concerned = [actor.description]
        switch action {
        case .rename: break
        case .put(let user, _), .remove(let user): concerned.append(user.description)
        }
        let id = group.description
        let asked = concerned
        try await postgres.transaction(attempts: 3) { connection in
            var state = try await Self.load(group, asked, on: connection)
            let changes = try state.perform(action, by: actor, limit: limit)
            guard !changes.isEmpty else { return }
            for change in changes {
                switch change.kind {
                case .created, .renamed: break
                case .added(let user, let role):
                    try await Self.requireReach(of: actor, to: [user], on: connection)
                    try await Self.add(user, role, change.version, id, on: connection)
                case .assigned(let user, let role):
                    _ = try await connection.query(
                        """
                        UPDATE conversation_members SET role = \(role.rawValue)
                        WHERE conversation_id = \(id) AND user_id = \(user.description)
                        """
                    )
                case .removed(let user):
                    _ = try await connection.query(
                        """
                        UPDATE conversation_members SET left_version = \(change.version)
                        WHERE conversation_id = \(id) AND user_id = \(user.description)
                        """
                    )
                }
            }
            _ = try await connection.query(
                "UPDATE conversations SET member_version = \(state.version), title = \(state.title) WHERE id = \(id)"
            )
            try await Self.record(changes, of: group, on: connection)
        }
    }

    /// Nobody adds whom they may not write to.
    private static func requireReach(of actor: UserID, to users: [UserID], on connection: PostgresConnection)
        async throws
    {
        let refusing = try await RelationStore.unreachable(for: actor, among: users, on: connection)
        guard refusing.isEmpty else {
            let names = refusing.map(\.description).sorted().joined(separator: ", ")
            throw Group.Refusal.forbidden("you may not add \(names)")
        }
    }

    private static func add(
        _ user: UserID,
        _ role: Group.Role,
        _ version: Int64,
        _ id: String,
        on connection: PostgresConnection
    ) async throws {
        let added = try await connection.query(
            """
            INSERT INTO conversation_members (conversation_id, user_id, joined_at, role, joined_version)
            SELECT \(id), users.id, now_ms(), \(role.rawValue), \(version)
            FROM users WHERE users.id = \(user.description)
            ON CONFLICT (conversation_id, user_id) DO UPDATE SET joined_at = excluded.joined_at, role = excluded.role,
                joined_version = excluded.joined_version, joined_mid = NULL, joined_seq = NULL, left_version = NULL
            """
        )
        guard added.affected == 1 else { throw UnknownUser() }
    }

    /// The group, held against other changes until the transaction ends.
    private static func load(
        _ group: ConversationID,
        _ concerned: [String],
        on connection: PostgresConnection
    ) async throws -> Group {
        let id = group.description
        let found = try await connection.query(
            "SELECT member_version, title FROM conversations WHERE id = \(id) AND kind = 'group' FOR UPDATE"
        )
        guard let (version, title) = try found.decode((Int64, String).self).first else { throw Group.Refusal.notFound }
        let rows = try await connection.query(
            """
            SELECT user_id, role, joined_version, left_version IS NOT NULL FROM conversation_members
            WHERE conversation_id = \(id) AND (left_version IS NULL OR user_id = ANY(\(concerned)::text[]))
            """
        )
        var (members, former): ([Group.Member], Set<UserID>) = ([], [])
        for (user, role, joined, hasLeft) in try rows.decode((String, String, Int64, Bool).self) {
            guard let user = UserID(user), let role = Group.Role(rawValue: role) else { continue }
            if hasLeft {
                former.insert(user)
            } else {
                members.append(Group.Member(user: user, role: role, joinedVersion: joined))
            }
        }
        return Group(version: version, title: title, members: members, former: former)
    }

    private static func record(
        _ changes: [GroupChange],
        of group: ConversationID,
        on connection: PostgresConnection
    ) async throws {
        for change in changes {
            let (kind, title, users, role) = change.columns
            _ = try await connection.query(
                """
                INSERT INTO conversation_changes (conversation_id, version, kind, actor_id, title, user_ids, role, at)
                VALUES (\(group.description), \(change.version), \(kind), \(change.actor.description), \(title),
                    \(users.map(\.description)), \(role?.rawValue), now_ms())
                """
            )
        }
    }

    func standing(of user: UserID, in group: ConversationID) async throws -> Standing {
        let rows = try await postgres.query(
            """
            SELECT left_version IS NOT NULL, joined_seq, joined_mid FROM conversation_members
            WHERE conversation_id = \(group.description) AND user_id = \(user.description)
            """
        )
        guard let (hasLeft, seq, mid) = try rows.decode((Bool, Int64?, Int64?).self).first else { return .stranger }
        return hasLeft ? .former : .member(joined: GroupSnapshot.Joined(seq: seq, mid: mid))
    }

    /// All of it as of one moment; nil where there is no such group.
    func snapshot(of group: ConversationID) async throws -> GroupSnapshot? {
        let id = group.description
        return try await postgres.transaction(isolation: .repeatableRead) { connection in
            let found = try await connection.query(
                "SELECT member_version FROM conversations WHERE id = \(id) AND kind = 'group'"
            )
            let versions: [Int64] = try found.decode(Int64.self)
            guard let version = versions.first else { return nil }
            let rows = try await connection.query(
                """
                SELECT user_id, joined_seq, joined_mid FROM conversation_members
                WHERE conversation_id = \(id) AND left_version IS NULL
                """
            )
            let members = try rows.decode((String, Int64?, Int64?).self).compactMap { user, seq, mid in
                UserID(user).map { GroupSnapshot.Member(user: $0, joined: .init(seq: seq, mid: mid)) }
            }
            let changes = try await connection.query(Self.changes(of: id))
            return GroupSnapshot(version: version, members: members, changes: try Self.decode(changes))
        }
    }

    /// The changes whose entries history does not hold yet, in order.
    func changes(of group: ConversationID) async throws -> [GroupChange] {
        try Self.decode(await postgres.query(Self.changes(of: group.description)))
    }

    /// Groups with a change that is older than `age` milliseconds and not archived: perhaps Redis lacks it.
    func groupsWithChanges(olderThan age: Int64) async throws -> [ConversationID] {
        let rows = try await postgres.query(
            """
            SELECT conversation_id FROM conversation_changes WHERE at < now_ms() - \(age)
            GROUP BY conversation_id ORDER BY min(at) LIMIT 1000
            """
        )
        let ids: [String] = try rows.decode(String.self)
        return ids.compactMap { ConversationID($0) }
    }

    private static func changes(of id: String) -> PostgresQuery {
        """
        SELECT version, kind, actor_id, title, user_ids, role FROM conversation_changes
        WHERE conversation_id = \(id) ORDER BY version
        """
    }

    private static func decode(_ rows: PostgresRows) throws -> [GroupChange] {
        typealias Columns = (Int64, String, String, String?, [String], String?)
        return try rows.decode(Columns.self).map { version, kind, actor, title, users, role in
            let users = users.compactMap { UserID($0) }
            guard let actor = UserID(actor),
                let kind = GroupChange.Kind(kind, title: title, users: users, role: role.flatMap(Group.Role.init))
            else { throw PostgresError(.decoding, "conversation_changes holds a change that is not known") }
            return GroupChange(version: version, actor: actor, kind: kind)
        }
    }
}

extension GroupChange {
    /// Of the outbox.
    fileprivate var columns: (kind: String, title: String?, users: [UserID], role: Group.Role?) {
        switch kind {
        case .created(let title, let members): ("created", title, members, nil)
        case .renamed(let title): ("renamed", title, [], nil)
        case .added(let user, let role): ("added", nil, [user], role)
        case .assigned(let user, let role): ("assigned", nil, [user], role)
        case .removed(let user): ("removed", nil, [user], nil)
        }
    }
}

extension GroupChange.Kind {
    fileprivate init?(_ kind: String, title: String?, users: [UserID], role: Group.Role?) {
        switch (kind, title, users.first, role) {
        case ("created", let title?, _, _): self = .created(title: title, members: users)
        case ("renamed", let title?, _, _): self = .renamed(title: title)
        case ("added", _, let user?, let role?): self = .added(user, role)
        case ("assigned", _, let user?, let role?): self = .assigned(user, role)
        case ("removed", _, let user?, _): self = .removed(user)
        default: return nil
        }
    }
}
