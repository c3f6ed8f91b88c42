public import PostgresClient

/// The schema's versions, in order; `parley migrate` applies those that are missing.
public enum SchemaMigrations {
    public static let all: [Migration] = [
        migration(1, "accounts", PackageResources._001_accounts_sql),
        migration(2, "messages", PackageResources._002_messages_sql),
        migration(4, "history", PackageResources._004_history_sql),
    ]

    private static func migration(_ version: Int, _ name: String, _ sql: [UInt8]) -> Migration {
        Migration(version: version, name: name, sql: String(decoding: sql, as: UTF8.self))
    }
}
