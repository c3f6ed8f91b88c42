import ParleyWire
import PostgresClient

extension AccountStore {
    /// The right to write a user's export, for a while.
    struct ExportLease: Sendable {
        let user: UserID
        fileprivate let token = LoginID.random().description
    }

    /// In milliseconds.
    static let exportLeaseDuration: Int64 = 30_000

    /// - Returns: nil while another export of this user is under way.
    func beginExport(of user: UserID) async throws -> ExportLease? {
        let lease = ExportLease(user: user)
        let taken = try await pool.query(
            """
            INSERT INTO exports AS running (user_id, token, lease_until)
            SELECT id, \(lease.token), now_ms() + \(Self.exportLeaseDuration) FROM users WHERE id = \(user.description)
            ON CONFLICT (user_id) DO UPDATE SET token = excluded.token, lease_until = excluded.lease_until
            WHERE running.lease_until < now_ms()
            """
        )
        return taken.affected == 1 ? lease : nil
    }

    /// - Returns: false where the lease has ended and another export has begun, or the user is gone.
    func renew(_ lease: ExportLease) async throws -> Bool {
        let renewed = try await pool.query(
            """
            UPDATE exports SET lease_until = now_ms() + \(Self.exportLeaseDuration)
            WHERE user_id = \(lease.user.description) AND token = \(lease.token)
            """
        )
        return renewed.affected == 1
    }

    func end(_ lease: ExportLease) async throws {
        _ = try await pool.query(
            "DELETE FROM exports WHERE user_id = \(lease.user.description) AND token = \(lease.token)"
        )
    }

    /// The conversations of a user, those they have left too, a page in order of the ids.
    func conversations(of user: UserID, after last: ConversationID?, limit: Int) async throws -> [ConversationID] {
        let rows = try await pool.query(
            """
            SELECT conversation_id FROM conversation_members
            WHERE user_id = \(user.description) AND conversation_id > \(last?.description ?? "")
            ORDER BY conversation_id LIMIT \(limit)
            """
        )
        return try rows.decode(String.self).compactMap { ConversationID($0) }
    }
}
