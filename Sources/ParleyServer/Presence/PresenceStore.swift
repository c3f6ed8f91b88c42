import ParleyCore
import ParleyWire
import PostgresClient

/// What presence asks PostgreSQL: who are friends, and who shows what.
struct PresenceStore: Sendable {
    let postgres: PostgresPool

    /// Those of the pairs who are friends: of each first one, the others.
    func friends(among pairs: [(me: UserID, other: UserID)]) async throws -> [UserID: Set<UserID>] {
        let rows = try await postgres.query(
            """
            SELECT me, other FROM unnest(\(pairs.map(\.me.description))::text[],
                                         \(pairs.map(\.other.description))::text[]) AS pair (me, other)
            JOIN friendships ON lo_id = least(me COLLATE "C", other COLLATE "C")
                AND hi_id = greatest(me COLLATE "C", other COLLATE "C")
            """
        )
        var friends: [UserID: Set<UserID>] = [:]
        for (me, other) in try rows.decode((String, String).self) {
            if let me = UserID(me), let other = UserID(other) { friends[me, default: []].insert(other) }
        }
        return friends
    }

    /// All friends of each user.
    func friends(of users: [UserID]) async throws -> [(user: UserID, friend: UserID)] {
        let ids = users.map(\.description)
        let rows = try await postgres.query(
            """
            SELECT lo_id, hi_id FROM friendships WHERE lo_id = ANY(\(ids)::text[])
            UNION ALL SELECT hi_id, lo_id FROM friendships WHERE hi_id = ANY(\(ids)::text[])
            """
        )
        return try rows.decode((String, String).self).compactMap { user, friend in
            UserID(user).flatMap { user in UserID(friend).map { (user, $0) } }
        }
    }

    func privacy(of users: [UserID]) async throws -> [UserID: PresencePrivacy] {
        let rows = try await postgres.query(
            """
            SELECT id, presence_version, last_seen, invisible FROM users
            WHERE id = ANY(\(users.map(\.description))::text[])
            """
        )
        var found: [UserID: PresencePrivacy] = [:]
        for (id, version, lastSeen, isInvisible) in try rows.decode((String, Int64, String, Bool).self) {
            guard let user = UserID(id), let lastSeen = LastSeen(rawValue: lastSeen) else { continue }
            found[user] = PresencePrivacy(version: version, lastSeen: lastSeen, isInvisible: isInvisible)
        }
        return found
    }

    /// Whether one may see when the other was here last.
    func mayViewer(_ viewer: UserID, seeLastActiveOf user: UserID) async throws -> Bool {
        switch try await privacy(of: [user])[user]?.lastSeen {
        case .everyone: true
        case .friends: viewer == user ? true : try await friends(among: [(viewer, user)])[viewer] != nil
        case .nobody, nil: false
        }
    }
}
