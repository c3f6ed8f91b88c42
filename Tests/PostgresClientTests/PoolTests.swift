import TestSupport
import Testing

@testable import PostgresClient

@Suite struct PoolTests {
    @Test func manyTasksShareFewConnections() async throws {
        let pool = try await makePool(connections: 4) { $0.acquireTimeout = .seconds(60) }
        let backends = try await withThrowingTaskGroup(of: (Int, Int, Int32).self) { group in
            for number in 0..<200 {
                group.addTask {
                    let rows = try await pool.query("SELECT \(number), pg_backend_pid(), pg_sleep(0.002)::text")
                    let (answer, backend, _) = try #require(try rows.decode((Int, Int32, String).self).first)
                    return (number, answer, backend)
                }
            }
            var backends: Set<Int32> = []
            for try await (number, answer, backend) in group {
                #expect(answer == number)
                backends.insert(backend)
            }
            return backends
        }
        #expect((1...4).contains(backends.count))
        let name =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'parley' AND datname = current_database()"
        #expect(try await (1...4).contains(pool.value("\(unescaped: name)", as: Int.self)))
        await pool.shutdown()
    }

    /// More statements wait than Swift's pool has threads, and what ends their wait still runs.
    @Test func slowStatementsTakeNoThreadOfSwift() async throws {
        let pool = try await makePool(connections: 20)
        let waiters = try await pool.withConnection { connection in
            _ = try await connection.query("SELECT pg_advisory_lock(1)")
            let waiters = (0..<19).map { _ in
                Task { try await pool.transaction { _ = try await $0.query("SELECT pg_advisory_xact_lock(1)") } }
            }
            let waiting: PostgresQuery = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            #expect(try await eventually { try await connection.query(waiting).decode(Int.self) == [19] })
            _ = try await connection.query("SELECT pg_advisory_unlock(1)")
            return waiters
        }
        for waiter in waiters { try await waiter.value }
        await pool.shutdown()
    }

    @Test func acquireTimesOut() async throws {
        let pool = try await makePool(connections: 1) { $0.acquireTimeout = .milliseconds(50) }
        try await pool.withConnection { _ in
            #expect(await code { try await pool.query("SELECT 1") } == .acquireTimeout)
        }
        #expect(try await pool.value("SELECT 1", as: Int32.self) == 1)
        await pool.shutdown()
    }

    @Test func waitingEndsWithTheTask() async throws {
        let pool = try await makePool(connections: 1) { $0.acquireTimeout = .seconds(600) }
        try await pool.withConnection { connection in
            let waiter = Task { try await pool.query("SELECT 1") }
            waiter.cancel()
            #expect(await code { try await waiter.value } == .cancelled)
            _ = try await connection.query("SELECT 1")
        }
        #expect(try await pool.value("SELECT 1", as: Int32.self) == 1)
        await pool.shutdown()
    }

    @Test func statementTimesOut() async throws {
        let pool = try await makePool(connections: 1) { $0.statementTimeout = .milliseconds(100) }
        func backend() async throws -> [Int32] {
            try await pool.query("SELECT pg_backend_pid()", timeout: .seconds(60)).decode(Int32.self)
        }
        let before = try await backend()
        #expect(await failure { try await pool.query("SELECT pg_sleep(600)") }?.code == .timeout)
        // The server cancelled the statement, and the connection goes on.
        #expect(try await backend() == before)
        let slow = try await pool.query("SELECT pg_sleep(0.3)::text", timeout: .seconds(60))
        #expect(slow.count == 1)
        await pool.shutdown()
    }

    @Test func cancellationReachesTheServer() async throws {
        let pool = try await makePool(connections: 2)
        let task = Task { try await pool.query("SELECT pg_sleep(600), 'needle'") }
        let running: PostgresQuery = """
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND query LIKE '%needle%' AND state = 'active' AND pid <> pg_backend_pid()
            """
        #expect(try await eventually { try await pool.value(running, as: Int.self) == 1 })
        task.cancel()
        #expect(await code { try await task.value } == .cancelled)
        #expect(try await pool.value(running, as: Int.self) == 0)
        await pool.shutdown()
    }

    @Test func sameTextWithOtherTypesIsAnotherStatement() async throws {
        let pool = try await makePool(connections: 1)
        for _ in 0..<2 {
            #expect(try await pool.value("SELECT pg_typeof(\(1))::text", as: String.self) == "bigint")
            #expect(try await pool.value("SELECT pg_typeof(\(Int32(1)))::text", as: String.self) == "integer")
            #expect(try await pool.value("SELECT pg_typeof(\(["1"]))::text", as: String.self) == "text[]")
        }
        let prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT pg_typeof%'"
        #expect(try await pool.value("\(unescaped: prepared)", as: Int.self) == 3)
        await pool.shutdown()
    }

    @Test func preparedStatementsOutdateAndAreBounded() async throws {
        let pool = try await makePool(connections: 1)
        _ = try await pool.query("CREATE TABLE t (a bigint)")
        #expect(try await pool.query("SELECT * FROM t").count == 0)
        _ = try await pool.query("ALTER TABLE t ADD b bigint")
        #expect(try await pool.query("SELECT * FROM t").count == 0)
        _ = try await pool.query("DISCARD ALL")
        #expect(try await pool.query("SELECT * FROM t").count == 0)
        for number in 0..<600 { _ = try await pool.query("SELECT \(unescaped: "\(number)")") }
        #expect(try await pool.value("SELECT count(*) FROM pg_prepared_statements", as: Int.self) <= 512)
        await pool.shutdown()
    }

    @Test func shutdownWaitsAndRefuses() async throws {
        let pool = try await makePool(connections: 1)
        let observer = try await makePool(connections: 1)
        let (started, start) = AsyncStream<Int32>.makeStream()
        let busy = Task {
            try await pool.withConnection { connection in
                let pid = try await connection.query("SELECT pg_backend_pid()").decode(Int32.self)
                start.yield(try #require(pid.first))
                return try await connection.query("SELECT pg_sleep(0.3)::text").count
            }
        }
        let backend = try #require(await started.first { _ in true })
        let waiter = Task { try await pool.query("SELECT 1") }
        await pool.shutdown()
        #expect(try await busy.value == 1)
        #expect(await code { try await waiter.value } == .poolClosed)
        #expect(await code { try await pool.query("SELECT 1") } == .poolClosed)
        #expect(
            try await eventually {
                try await observer.value("SELECT count(*) FROM pg_stat_activity WHERE pid = \(backend)", as: Int.self)
                    == 0
            }
        )
        await observer.shutdown()
    }
}
