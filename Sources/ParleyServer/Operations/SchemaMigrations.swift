public import PostgresClient

/// The schema's versions, in order; `parley migrate` applies those that are missing.
public enum SchemaMigrations {
    public static let all: [Migration] = [
        migration(1, "accounts", PackageResources._001_accounts_sql),
        migration(2, "messages", PackageResources._002_messages_sql),
        migration(3, "groups", PackageResources._003_groups_sql),
        migration(4, "changes", PackageResources._004_changes_sql),
        migration(5, "history", PackageResources._005_history_sql),
        migration(6, "relations", PackageResources._006_relations_sql),
        migration(7, "heads", PackageResources._007_heads_sql),
        migration(8, "mute", PackageResources._008_mute_sql),
        migration(9, "presence", PackageResources._009_presence_sql),
        migration(10, "push", PackageResources._010_push_sql),
        migration(11, "suggest", PackageResources._011_suggest_sql),
        migration(12, "searches", PackageResources._012_searches_sql),
    ]

    static let newest = all.map(\.version).max() ?? 0

    /// The newest version that the database has; 0 before the first migration.
    static func version(of pool: PostgresPool) async throws(PostgresError) -> Int {
        let exists: [Bool] = try await pool.query("SELECT to_regclass('schema_migrations') IS NOT NULL").decode(
            Bool.self
        )
        guard exists.first == true else { return 0 }
        let newest = try await pool.query("SELECT coalesce(max(version), 0) FROM schema_migrations").decode(Int.self)
        return newest.first ?? 0
    }

    /// What to tell where a database is older than this program.
    static func needsMigration(from version: Int) -> String {
        version == 0
            ? "The database has no schema yet: run parley migrate first."
            : "The database's schema is at version \(version), this program needs \(newest): run parley migrate first."
    }

    private static func migration(_ version: Int, _ name: String, _ sql: [UInt8]) -> Migration {
        Migration(version: version, name: name, sql: String(decoding: sql, as: UTF8.self))
    }
}
