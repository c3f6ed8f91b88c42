import ParleyWire
public import PostgresClient

/// Accounts and sign-ins in PostgreSQL. All SQL of this capability stands here and in this type's extensions.
///
/// Ages are measured by the database's clock, so that gateways whose clocks differ agree.
public struct AccountStore: Sendable {
    let pool: PostgresPool

    public init(pool: PostgresPool) {
        self.pool = pool
    }

    /// A sign-in about to be stored.
    struct NewLogin: Sendable {
        let id = LoginID.random()
        let token = RefreshToken.first()
        let device: String?
    }

    /// What signing in compares with. `passwordVersion` counts changes of the password, not of its hash's cost.
    struct Credentials: Sendable {
        let user: User
        let passwordHash: String
        let passwordVersion: Int
    }

    func isTaken(_ username: Username) async throws -> Bool {
        try await !pool.query("SELECT 1 FROM users WHERE username = \(username.text)").isEmpty
    }

    /// Stores a person and their first sign-in.
    ///
    /// - Returns: nil where the username is taken.
    func create(
        username: Username,
        displayName: DisplayName,
        passwordHash: String,
        login: NewLogin
    ) async throws -> User? {
        let user = User(id: .random(), username: username.text, displayName: displayName.text)
        return try await pool.transaction { connection in
            let created = try await connection.query(
                """
                INSERT INTO users (id, username, display_name, display_key, password_hash)
                SELECT \(user.id.description), \(user.username), \(user.displayName), \(displayName.key),
                       \(passwordHash)
                WHERE NOT EXISTS (SELECT 1 FROM deleted_users WHERE id = \(user.id.description))
                ON CONFLICT (username) DO NOTHING
                """
            )
            guard created.affected == 1 else { return nil }
            _ = try await Self.insert(login, of: user.id, passwordVersion: 0, on: connection)
            return user
        }
    }

    func credentials(username: Username) async throws -> Credentials? {
        try await Self.credentials(
            pool.query(
                """
                SELECT id, username, display_name, password_hash, password_version FROM users
                WHERE username = \(username.text)
                """
            )
        )
    }

    func credentials(user: UserID) async throws -> Credentials? {
        try await Self.credentials(
            pool.query(
                """
                SELECT id, username, display_name, password_hash, password_version FROM users
                WHERE id = \(user.description)
                """
            )
        )
    }

    private static func credentials(_ rows: PostgresRows) throws -> Credentials? {
        try rows.decode((String, String, String, String, Int).self).first.map {
            Credentials(
                user: try User(id: $0.0, username: $0.1, displayName: $0.2),
                passwordHash: $0.3,
                passwordVersion: $0.4
            )
        }
    }

    /// Stores a sign-in, and drops those of this user whose tokens were unused for too long.
    ///
    /// - Returns: false where the password was changed since the credentials were read.
    func add(_ login: NewLogin, of credentials: Credentials) async throws -> Bool {
        try await pool.transaction { connection in
            _ = try await connection.query(
                """
                DELETE FROM logins WHERE user_id = \(credentials.user.id.description)
                AND rotated_at < now() - \(RefreshFamily.lifetime) * interval '1 millisecond'
                """
            )
            return try await Self.insert(
                login,
                of: credentials.user.id,
                passwordVersion: credentials.passwordVersion,
                on: connection
            )
        }
    }

    /// FOR SHARE waits for a change of the password that is under way, and then sees it: a sign-in with the old
    /// password cannot slip past the change that ends all of them.
    private static func insert(
        _ login: NewLogin,
        of user: UserID,
        passwordVersion: Int,
        on connection: PostgresConnection
    ) async throws -> Bool {
        let rows = try await connection.query(
            """
            INSERT INTO logins (id, user_id, device, family_hash, token_hash)
            SELECT \(login.id.description), id, \(login.device)::text, \(login.token.familyHash), \(login.token.hash)
            FROM users WHERE id = \(user.description) AND password_version = \(passwordVersion) FOR SHARE
            """
        )
        return rows.affected == 1
    }

    /// Stores the same password at another cost, unless it changed meanwhile.
    func rehash(_ credentials: Credentials, to hash: String) async throws {
        _ = try await pool.query(
            """
            UPDATE users SET password_hash = \(hash)
            WHERE id = \(credentials.user.id.description) AND password_hash = \(credentials.passwordHash)
            """
        )
    }

    // Where a login ends, it is revoked before the transaction commits: if the revocation fails, nothing has
    // happened and the request can be repeated; if the commit fails, the login rests until it is repeated.

    /// - Returns: false where the password was changed since the credentials were read.
    func changePassword(
        _ credentials: Credentials,
        to hash: String,
        keeping login: LoginID,
        revoking revocations: any LoginRevocations
    ) async throws -> Bool {
        try await pool.transaction { connection in
            let user = credentials.user.id
            let changed = try await connection.query(
                """
                UPDATE users SET password_hash = \(hash), password_version = password_version + 1
                WHERE id = \(user.description) AND password_version = \(credentials.passwordVersion)
                """
            )
            guard changed.affected == 1 else { return false }
            let ended = try await connection.query(
                """
                DELETE FROM logins WHERE user_id = \(user.description) AND id <> \(login.description) RETURNING id
                """
            )
            for id in try ended.decode((String).self).compactMap(LoginID.init) {
                try await revocations.revoke(user: user, login: id)
            }
            return true
        }
    }

    /// - Returns: whether this user had that sign-in.
    func end(_ login: LoginID, of user: UserID, revoking revocations: any LoginRevocations) async throws -> Bool {
        try await pool.transaction { connection in
            let ended = try await connection.query(
                "DELETE FROM logins WHERE id = \(login.description) AND user_id = \(user.description)"
            )
            guard ended.affected == 1 else { return false }
            try await revocations.revoke(user: user, login: login)
            return true
        }
    }

    /// This user's sign-ins, the last used first, at most 200.
    func logins(of user: UserID) async throws -> [Login] {
        let rows = try await pool.query(
            """
            SELECT id, device, (extract(epoch FROM created_at) * 1000)::bigint,
                   (extract(epoch FROM rotated_at) * 1000)::bigint
            FROM logins WHERE user_id = \(user.description) ORDER BY rotated_at DESC LIMIT 200
            """
        )
        return try rows.decode((String, String?, Int64, Int64).self).compactMap { row in
            LoginID(row.0).map { Login(id: $0, device: row.1, createdAt: row.2, lastUsedAt: row.3) }
        }
    }

    /// What presenting a refresh token gave.
    struct Rotation: Sendable {
        let user: User
        let login: LoginID
        /// What the client holds from now on.
        let token: RefreshToken
    }

    /// Replaces a refresh token by its successor, under the row's lock: of two that race, the second one sees the
    /// first one's successor and answers with the same.
    ///
    /// - Returns: nil for an unknown, expired or reused token; reuse has then revoked the login.
    func rotate(_ token: RefreshToken, revoking revocations: any LoginRevocations) async throws -> Rotation? {
        try await pool.transaction { connection in
            let rows = try await connection.query(
                """
                SELECT u.id, u.username, u.display_name, l.id, l.token_hash, l.previous_hash, l.sealed_successor,
                       (extract(epoch FROM clock_timestamp() - l.rotated_at) * 1000)::bigint
                FROM logins l JOIN users u ON u.id = l.user_id
                WHERE l.family_hash = \(token.familyHash) FOR UPDATE OF l
                """
            )
            typealias Columns = (String, String, String, String, [UInt8], [UInt8]?, [UInt8]?, Int64)
            guard let row = try rows.decode(Columns.self).first, let login = LoginID(row.3) else { return nil }
            let user = try User(id: row.0, username: row.1, displayName: row.2)
            let family = RefreshFamily(currentHash: row.4, previousHash: row.5, sealedSuccessor: row.6, age: row.7)
            switch family.decide(presented: token) {
            case .rotate:
                let next = token.next()
                _ = try await connection.query(
                    """
                    UPDATE logins SET token_hash = \(next.hash), previous_hash = \(token.hash),
                           sealed_successor = \(token.seal(next)), rotated_at = clock_timestamp()
                    WHERE id = \(login.description)
                    """
                )
                return Rotation(user: user, login: login, token: next)
            case .answerAgain(let current):
                return Rotation(user: user, login: login, token: current)
            case .revoke, .expire:
                _ = try await connection.query("DELETE FROM logins WHERE id = \(login.description)")
                try await revocations.revoke(user: user.id, login: login)
                return nil
            }
        }
    }
}

extension User {
    init(id: String, username: String, displayName: String) throws(PostgresError) {
        guard let id = UserID(id) else { throw PostgresError(.decoding, "users.id holds what is not a user id") }
        self.init(id: id, username: username, displayName: displayName)
    }
}
