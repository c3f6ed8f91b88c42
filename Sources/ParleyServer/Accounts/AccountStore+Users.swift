import ParleyWire
import PostgresClient

extension AccountStore {
    func user(_ id: UserID) async throws -> User? {
        try await users([id]).first
    }

    /// Those of the ids that exist or existed, in no order.
    func users(_ ids: [UserID]) async throws -> [User] {
        let ids = ids.map(\.description)
        return try await Self.users(
            pool.query(
                """
                SELECT id, username, display_name FROM users WHERE id = ANY(\(ids))
                UNION ALL SELECT id, '', '' FROM deleted_users WHERE id = ANY(\(ids))
                """
            )
        )
    }

    /// Where a search goes on: usernames come first, then display names.
    enum SearchCursor: Sendable, Equatable {
        case username(after: String)
        case displayName(afterKey: String, id: String)
    }

    /// People whose username or display name begins with a text, whatever its case. Each page is two short ranges of
    /// an index, however many people match. Who is found by both names is listed once, by the username; for that a
    /// page may fall short of the limit, and only `next` tells whether it was the last.
    func search(
        prefix: String,
        limit: Int,
        from cursor: SearchCursor?
    ) async throws -> (users: [User], next: SearchCursor?) {
        let prefix = prefix.lowercased()
        // Above every text that begins with the prefix, since the columns compare bytewise.
        let end = prefix + "\u{10FFFF}"
        var found: [User] = []
        var lastName = (key: "", id: "")
        switch cursor ?? .username(after: "") {
        case .username(let last):
            found = try await Self.users(
                pool.query(
                    """
                    SELECT id, username, display_name FROM users
                    WHERE username >= \(prefix) AND username < \(end) AND username > \(last)
                    ORDER BY username LIMIT \(limit + 1)
                    """
                )
            )
            if found.count > limit {
                found.removeLast()
                return (found, .username(after: found[limit - 1].username))
            }
        case .displayName(let key, let id):
            lastName = (key, id)
        }
        let room = limit - found.count
        let rows = try await pool.query(
            """
            SELECT id, username, display_name, display_key FROM users
            WHERE display_key >= \(prefix) AND display_key < \(end)
              AND (display_key, id) > (\(lastName.key), \(lastName.id))
            ORDER BY display_key, id LIMIT \(room + 1)
            """
        )
        let named = try rows.decode((String, String, String, String).self)
        for row in named.prefix(room) {
            lastName = (row.3, row.0)
            guard !row.1.hasPrefix(prefix) else { continue }
            found.append(try User(id: row.0, username: row.1, displayName: row.2))
        }
        return (found, named.count > room ? .displayName(afterKey: lastName.key, id: lastName.id) : nil)
    }

    func profile(of user: UserID) async throws -> Profile? {
        try await Self.profile(
            pool.query(
                "SELECT \(unescaped: Self.profileColumns) FROM users WHERE id = \(user.description)"
            )
        )
    }

    /// - Returns: nil where the user is gone.
    /// - Throws: `HTTPProblem` `invalid` for a time zone that does not exist.
    func change(_ change: ProfileChange, of user: UserID) async throws -> Profile? {
        var (setsZone, zone) = (false, String?.none)
        if case .to(let given) = change.timeZone { (setsZone, zone) = (true, given) }
        var (setsQuiet, quiet) = (false, QuietHours?.none)
        if case .to(let given) = change.quietHours { (setsQuiet, quiet) = (true, given) }
        if let zone { try await checkExists(timeZone: zone) }
        return try await pool.transaction { [setsZone, zone, setsQuiet, quiet] connection in
            if let mayWrite = change.mayWrite { try await RelationStore.set(mayWrite, of: user, on: connection) }
            let rows = try await connection.query(
                """
                UPDATE users SET
                    display_name = coalesce(\(change.displayName?.text), display_name),
                    display_key = coalesce(\(change.displayName?.key), display_key),
                    last_seen = coalesce(\(change.lastSeen?.rawValue), last_seen),
                    invisible = coalesce(\(change.isInvisible), invisible),
                    presence_version = presence_version + \(change.concernsPresence ? 1 : 0),
                    time_zone = CASE WHEN \(setsZone) THEN \(zone) ELSE time_zone END,
                    quiet_from = CASE WHEN \(setsQuiet) THEN \(quiet?.from.minutes) ELSE quiet_from END,
                    quiet_to = CASE WHEN \(setsQuiet) THEN \(quiet?.to.minutes) ELSE quiet_to END
                WHERE id = \(user.description)
                RETURNING \(unescaped: Self.profileColumns)
                """
            )
            return try Self.profile(rows)
        }
    }

    private func checkExists(timeZone: String) async throws {
        do {
            _ = try await pool.query("SELECT now() AT TIME ZONE \(timeZone)::text")
        } catch {
            throw error.sqlState == "22023" ? HTTPProblem.invalidTimeZone : error
        }
    }

    private static let profileColumns = """
        id, username, display_name, (extract(epoch FROM created_at) * 1000)::bigint, may_write, last_seen,
        invisible, time_zone, quiet_from::bigint, quiet_to::bigint
        """

    private static func profile(_ rows: PostgresRows) throws -> Profile? {
        typealias Columns = (String, String, String, Int64, String, String, Bool, String?, Int?, Int?)
        guard let row = try rows.decode(Columns.self).first else { return nil }
        guard let mayWrite = MayWrite(rawValue: row.4), let lastSeen = LastSeen(rawValue: row.5) else {
            throw PostgresError(.decoding, "users holds a setting that is not known")
        }
        let from = row.8.flatMap { TimeOfDay(minutes: $0) }
        let to = row.9.flatMap { TimeOfDay(minutes: $0) }
        return Profile(
            user: try User(id: row.0, username: row.1, displayName: row.2),
            createdAt: row.3,
            mayWrite: mayWrite,
            lastSeen: lastSeen,
            isInvisible: row.6,
            timeZone: row.7,
            quietHours: from.flatMap { from in to.map { QuietHours(from: from, to: $0) } }
        )
    }

    private static func users(_ rows: PostgresRows) throws -> [User] {
        try rows.decode((String, String, String).self).map {
            let user = try User(id: $0.0, username: $0.1, displayName: $0.2)
            return user.username.isEmpty ? .gone(user.id) : user
        }
    }
}
