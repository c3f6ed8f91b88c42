/// One step of the database's schema. Never changed once it was released.
public struct Migration: Sendable, Equatable {
    /// 1 or more, rising.
    public var version: Int
    public var name: String
    /// Any number of statements; they run in one transaction and must not end it.
    public var sql: String

    public init(version: Int, name: String, sql: String) {
        self.version = version
        self.name = name
        self.sql = sql
    }
}

/// Brings a database's schema forward: each migration in a transaction of its own, under an advisory lock, so that any
/// number of processes may do it at once. What was applied stands in the table `schema_migrations`.
public struct Migrator: Sendable {
    /// The advisory lock's key, "migrate" in ASCII. It belongs to the database, not to the server.
    private static let lockKey: Int64 = 0x6D_6967_7261_7465
    private static let table: PostgresQuery = """
        CREATE TABLE IF NOT EXISTS schema_migrations (
            version bigint PRIMARY KEY,
            name text NOT NULL,
            checksum text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
        )
        """

    private let pool: PostgresPool
    private let timeout: Duration

    /// - Parameter timeout: how long a migration, or the wait for another process's, may take. Default 1 h.
    public init(pool: PostgresPool, timeout: Duration = .seconds(3600)) {
        self.pool = pool
        self.timeout = timeout
    }

    /// Applies those of `migrations` that the database lacks, in order, and returns their versions.
    /// Throws `.migration` if the two do not fit together, and nothing is changed; if a migration fails, its error,
    /// and the database stays at the one before.
    public func migrate(_ migrations: [Migration]) async throws -> [Int] {
        var versions: [Int] = []
        while let version = try await applyNext(of: migrations) { versions.append(version) }
        return versions
    }

    private func applyNext(of migrations: [Migration]) async throws -> Int? {
        try await pool.transaction { connection in
            // The lock ends with the transaction; the next one looks again at what others may have done.
            _ = try await connection.query("SELECT pg_advisory_xact_lock(\(Self.lockKey))", timeout: timeout)
            _ = try await connection.query(Self.table)
            let applied = try await connection.query(
                "SELECT version, name, checksum FROM schema_migrations ORDER BY version"
            ).decode((Int, String, String).self)
            let checksums = try await connection.query(
                """
                SELECT encode(sha256(sql), 'hex')
                FROM unnest(\(migrations.map { Array($0.sql.utf8) })) WITH ORDINALITY AS m (sql, position)
                ORDER BY position
                """
            ).decode(String.self)
            let plan = MigrationPlan(
                applied: applied.map { MigrationPlan.Applied(version: $0, name: $1, checksum: $2) },
                known: zip(migrations, checksums).map { MigrationPlan.Known(migration: $0, checksum: $1) }
            )
            guard let next = try plan.next() else { return nil }
            try await apply(next, on: connection)
            return next.migration.version
        }
    }

    private func apply(_ next: MigrationPlan.Known, on connection: PostgresConnection) async throws {
        let migration = next.migration
        do {
            try await connection.execute(script: migration.sql, timeout: timeout)
        } catch {
            var error = error
            error.message = "migration \(migration.version) (\(migration.name)): \(error.message)"
            throw error
        }
        guard await connection.isInTransaction else {
            throw PostgresError(
                .migration,
                "migration \(migration.version) (\(migration.name)) ended its transaction, so it is not recorded: "
                    + "remove BEGIN, COMMIT and ROLLBACK from it, and undo what it did"
            )
        }
        _ = try await connection.query(
            """
            INSERT INTO schema_migrations (version, name, checksum)
            VALUES (\(migration.version), \(migration.name), \(next.checksum))
            """
        )
    }
}

/// What is to be done about a database with these migrations applied.
struct MigrationPlan {
    struct Applied {
        var version: Int
        var name: String
        var checksum: String
    }

    struct Known {
        var migration: Migration
        var checksum: String
    }

    /// By version.
    var applied: [Applied]
    var known: [Known]

    /// The migration to apply now; `nil` when all are.
    func next() throws(PostgresError) -> Known? {
        let versions = known.map(\.migration.version)
        guard versions.allSatisfy({ $0 > 0 }), zip(versions, versions.dropFirst()).allSatisfy(<) else {
            throw PostgresError(.migration, "migrations must have rising versions from 1 on, not \(versions)")
        }
        for old in applied {
            let label = "migration \(old.version) (\(old.name))"
            guard let same = known.first(where: { $0.migration.version == old.version }) else {
                let message =
                    old.version > versions.last ?? 0
                    ? "the database is newer than this program: it has \(label), the program ends at "
                        + "\(versions.last ?? 0). Run a newer program"
                    : "the database has \(label), which this program does not know"
                throw PostgresError(.migration, message)
            }
            guard same.checksum == old.checksum else {
                throw PostgresError(
                    .migration,
                    "\(label) was changed after it was applied; put it back and add a new migration instead"
                )
            }
        }
        guard let next = known.first(where: { known in !applied.contains { $0.version == known.migration.version } })
        else { return nil }
        if let newest = applied.last, next.migration.version < newest.version {
            throw PostgresError(
                .migration,
                "migration \(next.migration.version) (\(next.migration.name)) is not applied, but the later "
                    + "\(newest.version) (\(newest.name)) is; give it a version above that"
            )
        }
        return next
    }
}
