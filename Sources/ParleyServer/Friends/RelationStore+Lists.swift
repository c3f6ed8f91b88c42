import ParleyWire
import PostgresClient

/// Whom a user has to do with.
extension RelationStore {
    struct Lists: Sendable, Encodable {
        /// By username.
        var friends: [User] = []
        /// Who asks this user, and whom they ask: the newest first.
        var incoming: [User] = []
        var outgoing: [User] = []
    }

    /// - Parameter incomingLimit: of requests by others, which have no bound of their own.
    func lists(of user: UserID, incomingLimit: Int) async throws -> Lists {
        let me = user.description
        // One statement, so that nobody is in two lists or in none while they become friends.
        let rows = try await postgres.query(
            """
            WITH known AS (
                SELECT 'friend' AS kind, hi_id AS id, 0 AS place FROM friendships WHERE lo_id = \(me)
                UNION ALL SELECT 'friend', lo_id, 0 FROM friendships WHERE hi_id = \(me)
                UNION ALL (
                    SELECT 'incoming', from_id, -at FROM friend_requests
                    WHERE to_id = \(me)
                      AND NOT EXISTS (SELECT 1 FROM blocks WHERE blocker_id = to_id AND blocked_id = from_id)
                    ORDER BY at DESC LIMIT \(incomingLimit)
                )
                UNION ALL SELECT 'outgoing', to_id, -at FROM friend_requests WHERE from_id = \(me)
            )
            SELECT kind, users.id, username, display_name FROM known JOIN users ON users.id = known.id
            ORDER BY place, username
            """
        )
        var lists = Lists()
        for (kind, id, username, displayName) in try rows.decode((String, String, String, String).self) {
            let user = try User(id: id, username: username, displayName: displayName)
            switch kind {
            case "friend": lists.friends.append(user)
            case "incoming": lists.incoming.append(user)
            default: lists.outgoing.append(user)
            }
        }
        return lists
    }

    /// Whom a user blocks, by their ids, a page of them.
    func blocked(by user: UserID, after last: UserID?, limit: Int) async throws -> (users: [User], next: UserID?) {
        let rows = try await postgres.query(
            """
            SELECT id, username, display_name FROM blocks JOIN users ON id = blocked_id
            WHERE blocker_id = \(user.description) AND blocked_id > \(last?.description ?? "")
            ORDER BY blocked_id LIMIT \(limit + 1)
            """
        )
        let users = try rows.decode((String, String, String).self).map {
            try User(id: $0.0, username: $0.1, displayName: $0.2)
        }
        return (Array(users.prefix(limit)), users.count > limit ? users[limit - 1].id : nil)
    }
}
