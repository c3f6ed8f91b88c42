import ParleyWire
import PostgresClient

extension AccountStore {
    /// A deletion that is not forgotten yet.
    struct Deletion: Sendable {
        let user: UserID
        /// To be revoked.
        let logins: [LoginID]
        /// How often everybody was told: once at the deletion, and once more for what was under way then.
        let passes: Int
    }

    /// How long the gateway has for the first pass before a worker does it, and what may have been under way before the
    /// second one, in milliseconds.
    private static let patience: Int64 = 5000
    private static let aftermath: Int64 = 60_000

    /// Replaces a user by a tombstone and an entry of the outbox; nothing where the user is gone.
    func delete(_ user: UserID) async throws {
        let id = user.description
        try await pool.transaction { connection in
            // Waits for sign-ins under way: they see a user who is gone, or are ended here.
            let found = try await connection.query("SELECT 1 FROM users WHERE id = \(id) FOR UPDATE")
            guard !found.isEmpty else { return }
            let logins = try await connection.query("DELETE FROM logins WHERE user_id = \(id) RETURNING id")
            _ = try await connection.query("DELETE FROM users WHERE id = \(id)")
            _ = try await connection.query("INSERT INTO deleted_users (id, deleted_at) VALUES (\(id), now_ms())")
            _ = try await connection.query(
                """
                INSERT INTO account_deletions (user_id, logins, due_at)
                VALUES (\(id), \(try logins.decode(String.self)), now_ms() + \(Self.patience))
                """
            )
        }
    }

    func isDeleted(_ user: UserID) async throws -> Bool {
        try await !pool.query("SELECT 1 FROM deleted_users WHERE id = \(user.description)").isEmpty
    }

    func deletion(of user: UserID) async throws -> Deletion? {
        try await Self.deletions(
            pool.query("SELECT user_id, logins, passes FROM account_deletions WHERE user_id = \(user.description)")
        ).first
    }

    /// Those that a worker should look after now.
    func dueDeletions() async throws -> [Deletion] {
        try await Self.deletions(
            pool.query(
                """
                SELECT user_id, logins, passes FROM account_deletions
                WHERE due_at <= now_ms() ORDER BY due_at LIMIT 100
                """
            )
        )
    }

    private static func deletions(_ rows: PostgresRows) throws -> [Deletion] {
        try rows.decode((String, [String], Int).self).compactMap { user, logins, passes in
            UserID(user).map { Deletion(user: $0, logins: logins.compactMap { LoginID($0) }, passes: passes) }
        }
    }

    /// Notes a pass; after the second one the deletion is forgotten.
    func passed(_ deletion: Deletion) async throws {
        let id = deletion.user.description
        guard deletion.passes == 0 else {
            _ = try await pool.query("DELETE FROM account_deletions WHERE user_id = \(id)")
            return
        }
        _ = try await pool.query(
            """
            UPDATE account_deletions SET passes = 1, due_at = now_ms() + \(Self.aftermath)
            WHERE user_id = \(id) AND passes = 0
            """
        )
    }
}
