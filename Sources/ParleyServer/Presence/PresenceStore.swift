import ParleyCore
import ParleyWire
import PostgresClient

/// What presence asks PostgreSQL: who are friends, and who shows what.
struct PresenceStore: Sendable {
    let postgres: PostgresPool

    /// Those of the users who are friends of somebody.
    func friends(of user: UserID, among others: [UserID]) async throws -> Set<UserID> {
        let (me, others) = (user.description, others.map(\.description))
        let rows = try await postgres.query(
            """
            SELECT hi_id FROM friendships WHERE lo_id = \(me) AND hi_id = ANY(\(others)::text[])
            UNION ALL SELECT lo_id FROM friendships WHERE hi_id = \(me) AND lo_id = ANY(\(others)::text[])
            """
        )
        return Set(try rows.decode(String.self).compactMap { UserID($0) })
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
        case .friends: viewer == user ? true : try await friends(of: viewer, among: [user]).contains(user)
        case .nobody, nil: false
        }
    }
}
