import ParleyWire
import PostgresClient

/// Registered devices, and what of their users decides about a push, in PostgreSQL.
struct PushStore: Sendable {
    let postgres: PostgresPool

    /// Devices that a user may have registered; the ones registered longest ago give way.
    private static let limit = 20

    /// Stores a device of a user, in place of what it was registered with before, and takes its token from whoever had
    /// registered that.
    ///
    /// - Parameter device: of its user the name, or one of their sign-ins; the registration ends with that sign-in, or with
    ///   the one that asks.
    /// - Returns: false where the sign-in has ended meanwhile.
    func register(_ address: PushAddress, hidesContent: Bool, device: String, of identity: Identity) async throws
        -> Bool
    {
        let user = identity.user.description
        return try await postgres.transaction { connection in
            // Two who register the same token at once: the second waits here, and takes it.
            _ = try await connection.query(
                "SELECT pg_advisory_xact_lock(hashtextextended(\("push \(address.provider.rawValue) \(address.token)"), 0))"
            )
            _ = try await connection.query(
                """
                DELETE FROM push_registrations WHERE provider = \(address.provider.rawValue) AND token = \(address.token)
                AND NOT (user_id = \(user) AND device = \(device))
                """
            )
            let stored = try await connection.query(
                """
                INSERT INTO push_registrations AS known (user_id, device, login_id, provider, token, public_key,
                                                         auth_secret, hide_content, registered_at)
                SELECT user_id, \(device), id, \(address.provider.rawValue), \(address.token),
                       \(address.keys?.publicKey), \(address.keys?.authSecret), \(hidesContent), now_ms()
                FROM logins WHERE user_id = \(user) AND id IN (\(device), \(identity.login.description))
                ORDER BY id = \(device) DESC LIMIT 1
                ON CONFLICT (user_id, device) DO UPDATE SET login_id = excluded.login_id, provider = excluded.provider,
                    token = excluded.token, public_key = excluded.public_key, auth_secret = excluded.auth_secret,
                    hide_content = excluded.hide_content, registered_at = excluded.registered_at
                """
            )
            _ = try await connection.query(
                """
                DELETE FROM push_registrations WHERE id IN (
                    SELECT id FROM push_registrations WHERE user_id = \(user) ORDER BY registered_at DESC, id DESC
                    OFFSET \(Self.limit)
                )
                """
            )
            return stored.affected == 1
        }
    }

    /// - Returns: whether there was one.
    func unregister(_ device: String, of user: UserID) async throws -> Bool {
        let removed = try await postgres.query(
            "DELETE FROM push_registrations WHERE user_id = \(user.description) AND device = \(device)"
        )
        return removed.affected == 1
    }

    /// Forgets devices that their provider does not know any more, unless they have been registered anew.
    func forget(_ registration: PushRegistration) async throws {
        _ = try await postgres.query(
            """
            DELETE FROM push_registrations WHERE id = \(registration.id) AND token = \(registration.address.token)
                AND registered_at = \(registration.registeredAt)
            """
        )
    }

    func registrations(of users: some Collection<UserID>) async throws -> [PushRegistration] {
        let rows = try await postgres.query(
            """
            SELECT id, user_id, device, provider, token, public_key, auth_secret, hide_content, registered_at
            FROM push_registrations WHERE user_id = ANY(\(users.map(\.description))::text[]) ORDER BY id
            """
        )
        typealias Columns = (Int64, String, String, String, String, [UInt8]?, [UInt8]?, Bool, Int64)
        return try rows.decode(Columns.self).compactMap { row in
            guard let user = UserID(row.1), let provider = PushProviderName(rawValue: row.3) else { return nil }
            var address = PushAddress(provider: provider, token: row.4)
            if let key = row.5, let secret = row.6 { address.keys = WebPushKeys(publicKey: key, authSecret: secret) }
            return PushRegistration(
                id: row.0,
                user: user,
                device: row.2,
                address: address,
                hidesContent: row.7,
                registeredAt: row.8
            )
        }
    }

    /// Users with registrations in order of their ids, a page.
    func users(after last: String, limit: Int) async throws -> [String] {
        try await postgres.query(
            """
            SELECT DISTINCT user_id FROM push_registrations WHERE user_id > \(last) ORDER BY user_id LIMIT \(limit)
            """
        ).decode(String.self)
    }

    /// Those of these users whose quiet hours it is.
    func quiet(among users: some Collection<UserID>) async throws -> Set<UserID> {
        let rows = try await postgres.query(
            """
            SELECT id, quiet_from::bigint, quiet_to::bigint,
                   extract(hour FROM local)::bigint * 60 + extract(minute FROM local)::bigint
            FROM (SELECT id, quiet_from, quiet_to, now() AT TIME ZONE coalesce(time_zone, 'UTC') AS local FROM users
                  WHERE id = ANY(\(users.map(\.description))::text[]) AND quiet_from IS NOT NULL) AS quiet
            """
        )
        var quiet: Set<UserID> = []
        for (id, from, to, minute) in try rows.decode((String, Int64, Int64, Int64).self) {
            if QuietMinutes(from: Int(from), to: Int(to)).contains(Int(minute)), let user = UserID(id) {
                quiet.insert(user)
            }
        }
        return quiet
    }

    /// Those of these users who want no noise from the conversation beside them.
    func muted(_ pairs: some Collection<(user: UserID, conversation: ConversationID)>) async throws -> Set<String> {
        let rows = try await postgres.query(
            """
            SELECT user_id || ' ' || conversation_id FROM conversation_mutes
            JOIN unnest(\(pairs.map(\.user.description))::text[], \(pairs.map(\.conversation.description))::text[])
                AS asked (asker, conv) ON user_id = asker AND conversation_id = conv
            WHERE until IS NULL OR until > now_ms()
            """
        )
        return Set(try rows.decode(String.self))
    }

    /// What people call these users and conversations, by id.
    func names(_ users: some Collection<UserID>, _ groups: some Collection<ConversationID>) async throws -> [String:
        String]
    {
        let rows = try await postgres.query(
            """
            SELECT id, display_name FROM users WHERE id = ANY(\(users.map(\.description))::text[])
            UNION ALL SELECT id, coalesce(title, '') FROM conversations
            WHERE id = ANY(\(groups.map(\.description))::text[])
            """
        )
        return Dictionary(try rows.decode((String, String).self).map { ($0, $1) }) { first, _ in first }
    }
}
