import TestSupport
import Testing

@testable import PostgresClient

@Suite struct MigratorTests {
    private let migrations = [
        Migration(version: 1, name: "users", sql: "CREATE TABLE users (id text PRIMARY KEY); SELECT pg_sleep(0.05);"),
        Migration(version: 2, name: "names", sql: "ALTER TABLE users ADD name text; -- 名前"),
        Migration(version: 5, name: "index", sql: "CREATE INDEX users_name ON users (name)"),
    ]

    private func tables(_ pool: PostgresPool) async throws -> [String] {
        try await pool.query(
            "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1"
        ).decode(String.self)
    }

    @Test func appliesOnce() async throws {
        let pool = try await makePool()
        let migrator = Migrator(pool: pool)
        #expect(try await migrator.migrate([]) == [])
        #expect(try await migrator.migrate(Array(migrations[..<1])) == [1])
        #expect(try await migrator.migrate(migrations) == [2, 5])
        #expect(try await migrator.migrate(migrations) == [])
        let recorded = try await pool.query("SELECT version, name FROM schema_migrations ORDER BY version")
            .decode((Int, String).self)
        #expect(recorded.map(\.0) == [1, 2, 5])
        #expect(recorded.map(\.1) == ["users", "names", "index"])
        #expect(try await pool.query("INSERT INTO users (id, name) VALUES ('a', 'b')").affected == 1)
        await pool.shutdown()
    }

    @Test func severalProcessesAtOnce() async throws {
        let url = try await PrivatePostgres.database()
        let applied = try await withThrowingTaskGroup(of: [Int].self) { group in
            for _ in 0..<4 {
                group.addTask { [migrations] in
                    let pool = PostgresPool(configuration: PostgresConfiguration(url: url, connections: 1))
                    let versions = try await Migrator(pool: pool).migrate(migrations)
                    await pool.shutdown()
                    return versions
                }
            }
            return try await group.reduce([], +)
        }
        #expect(applied.sorted() == [1, 2, 5])
    }

    @Test func failureLeavesNothing() async throws {
        let pool = try await makePool()
        let broken = Migration(version: 6, name: "broken", sql: "CREATE TABLE half (a bigint); SELECT 1 / 0;")
        let fresh = await failure { try await Migrator(pool: pool).migrate([broken]) }
        #expect(fresh?.sqlState == "22012")
        #expect(try await tables(pool) == [])
        let error = await failure { try await Migrator(pool: pool).migrate(migrations + [broken]) }
        #expect(error?.message.hasPrefix("migration 6 (broken): ") == true)
        #expect(try await tables(pool) == ["schema_migrations", "users"])
        // Corrected, it goes on from there.
        let whole = Migration(version: 6, name: "broken", sql: "CREATE TABLE half (a bigint)")
        #expect(try await Migrator(pool: pool).migrate(migrations + [whole]) == [6])
        await pool.shutdown()
    }

    @Test func misfitsAreRefused() async throws {
        let pool = try await makePool()
        let migrator = Migrator(pool: pool)
        _ = try await migrator.migrate(migrations)
        func refusal(_ migrations: [Migration]) async -> String? {
            let error = await failure { try await migrator.migrate(migrations) }
            return error?.code == .migration ? error?.message : nil
        }
        var changed = migrations
        changed[1].sql += " "
        #expect(await refusal(changed)?.hasPrefix("migration 2 (names) was changed") == true)
        #expect(await refusal(Array(migrations[..<2]))?.hasPrefix("the database is newer than this program") == true)
        #expect(await refusal([])?.hasPrefix("the database is newer than this program") == true)
        #expect(await refusal([migrations[0], migrations[2]])?.contains("does not know") == true)
        let late = Migration(version: 3, name: "late", sql: "SELECT 1")
        #expect(await refusal([migrations[0], migrations[1], late, migrations[2]])?.contains("later 5") == true)
        #expect(await refusal(migrations.reversed())?.contains("rising versions") == true)
        let ending = Migration(version: 6, name: "ending", sql: "SELECT 1; COMMIT;")
        #expect(await refusal(migrations + [ending])?.contains("ended its transaction") == true)
        #expect(try await migrator.migrate(migrations) == [])
        await pool.shutdown()
    }
}
