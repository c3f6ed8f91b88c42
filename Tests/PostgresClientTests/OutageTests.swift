import TestSupport
import Testing

@testable import PostgresClient

/// Servers of their own, which these tests kill and pause.
@Suite(.serialized) struct OutageTests {
    private func configuration(_ server: PrivatePostgres) async throws -> PostgresConfiguration {
        var configuration = PostgresConfiguration(url: try await server.database(), connections: 3)
        configuration.cancelGrace = .seconds(1)
        return configuration
    }

    private func isUp(_ pool: PostgresPool) async throws -> Bool {
        try await eventually { (try? await pool.query("SELECT 1")) != nil }
    }

    @Test func killedServerIsFoundAgain() async throws {
        let server = try await PrivatePostgres()
        let pool = PostgresPool(configuration: try await configuration(server))
        _ = try await pool.query("CREATE TABLE t (a bigint)")
        let (started, start) = AsyncStream<Void>.makeStream()
        let alone = Task { try await pool.query("SELECT pg_sleep(600), 'alone'") }
        let inside = Task {
            try await pool.transaction { connection in
                _ = try await connection.query("INSERT INTO t VALUES (1)")
                start.yield()
                _ = try await connection.query("SELECT pg_sleep(600)")
            }
        }
        _ = await started.first { _ in true }
        let sleeping: PostgresQuery = """
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%' AND state = 'active'
            """
        #expect(try await eventually { try await pool.value(sleeping, as: Int.self) == 2 })
        try await server.kill9()
        #expect(await code { try await alone.value } == .connectionLost)
        #expect(await code { try await inside.value } == .connectionLost)

        let error = await failure { try await pool.query("SELECT 1") }
        #expect(error?.code == .connectionFailed)
        #expect(error?.message.contains("127.0.0.1:\(server.port), database \"test_") == true)

        try await server.restart()
        #expect(try await isUp(pool))
        #expect(try await pool.query("SELECT a FROM t").count == 0)

        // Connections that idle through a restart are replaced before they are used.
        try await pool.withConnection { _ in _ = try await pool.query("SELECT 1") }
        try await server.restart()
        try await pool.withConnection { _ in _ = try await pool.query("SELECT 1") }
        await pool.shutdown()
    }

    @Test func administratorEndsConnection() async throws {
        let pool = try await makePool(connections: 2)
        let error = await failure {
            try await pool.transaction { connection in
                let backend = try await connection.query("SELECT pg_backend_pid()").decode(Int32.self)[0]
                _ = try await pool.query("SELECT pg_terminate_backend(\(backend), 60000)")
                _ = try await connection.query("SELECT 1")
            }
        }
        #expect(error?.code == .connectionLost)
        #expect(try await pool.query("SELECT 1").count == 1)
        await pool.shutdown()
    }

    @Test func lostCommitIsUnknown() async throws {
        let server = try await PrivatePostgres()
        let configuration = try await configuration(server)
        let pool = PostgresPool(configuration: configuration)
        // The commit waits in a deferred trigger, and there its server dies.
        _ = try await pool.withConnection { connection in
            try await connection.execute(
                script: """
                    CREATE TABLE t (a bigint);
                    CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS
                        $$ BEGIN PERFORM pg_sleep(600); RETURN NULL; END $$;
                    CREATE CONSTRAINT TRIGGER nap AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
                        FOR EACH ROW EXECUTE FUNCTION nap();
                    """
            )
        }
        let task = Task {
            try await pool.transaction { connection in _ = try await connection.query("INSERT INTO t VALUES (1)") }
        }
        let committing: PostgresQuery = """
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND query = 'COMMIT' AND state = 'active'
            """
        #expect(try await eventually { try await pool.value(committing, as: Int.self) == 1 })
        // A cancelled task does not make a commit's outcome unclear.
        task.cancel()
        try await Task.sleep(for: .milliseconds(200))
        #expect(try await pool.value(committing, as: Int.self) == 1)
        try await server.kill9()
        #expect(await code { try await task.value } == .unknownOutcome)

        // Lost before COMMIT was sent, it is known that nothing was committed.
        try await server.restart()
        #expect(try await isUp(pool))
        let code = await code {
            try await pool.transaction { connection in
                _ = try await connection.query("CREATE TABLE u (a bigint)")
                try await server.kill9()
                _ = try? await connection.query("SELECT 1")
            }
        }
        #expect(code == .connectionLost)
        await pool.shutdown()
    }

    @Test func silentServerIsGivenUp() async throws {
        let server = try await PrivatePostgres()
        var configuration = try await configuration(server)
        configuration.connectTimeout = .seconds(2)
        configuration.statementTimeout = .milliseconds(500)
        let pool = PostgresPool(configuration: configuration)
        #expect(try await isUp(pool))
        server.pause()
        #expect(await code { try await pool.query("SELECT 1") } == .connectionLost)
        // A new connection is accepted by the kernel, and then nothing comes.
        #expect(await code { try await pool.query("SELECT 1") } == .connectionFailed)
        // More than the sockets' buffers hold does not block either.
        server.resume()
        #expect(try await isUp(pool))
        server.pause()
        let large = String(repeating: "x", count: 64 << 20)
        #expect(await code { try await pool.query("SELECT length(\(large))") } == .connectionLost)
        server.resume()
        #expect(try await isUp(pool))
        #expect(
            try await pool.query("SELECT length(\(large))", timeout: .seconds(60)).decode(Int32.self) == [67_108_864]
        )
        await pool.shutdown()
    }

    @Test func unreachableServerIsNamedWithoutThePassword() async throws {
        let url = "postgres://someone:s3cret@127.0.0.1:1/somewhere"
        let pool = PostgresPool(configuration: PostgresConfiguration(url: url))
        let error = try #require(await failure { try await pool.query("SELECT 1") })
        #expect(error.code == .connectionFailed)
        #expect(error.description.contains("127.0.0.1:1, database \"somewhere\""))
        #expect(!error.description.contains("s3cret"))
        #expect(await code { try await pool.transaction { _ in } } == .connectionFailed)
        await pool.shutdown()
    }

    @Test func wrongPasswordAndDatabase() async throws {
        let url = try await PrivatePostgres.database()
        let place = try #require(url.split(separator: "@").last)
        for wrong in ["postgres://parley:s3cret@\(place)", url + "_absent"] {
            let pool = PostgresPool(configuration: PostgresConfiguration(url: wrong))
            let error = try #require(await failure { try await pool.query("SELECT 1") })
            #expect(error.code == .connectionFailed)
            #expect(!error.description.contains("s3cret"))
            await pool.shutdown()
        }
    }

    @Test(arguments: [
        "host=@", "postgres://u:s3c/ret@host/db", "postgres://u:1/s3cret@host/db", "postgres://u:s@3cret@host/db",
        "postgres://u:p@host:port/db", "postgres://host/db?sslmode=s3cret&nonsense=s3cret", "http://s3cret",
    ])
    func unusableURLs(url: String) async throws {
        let pool = PostgresPool(configuration: PostgresConfiguration(url: url))
        let error = try #require(await failure { try await pool.query("SELECT 1") })
        #expect(error.code == .invalidConfiguration)
        #expect(!error.description.contains("ret"))
        await pool.shutdown()
    }
}
