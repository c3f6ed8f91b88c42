import TestSupport
import Testing

@testable import PostgresClient

@Suite struct TransactionTests {
    private struct Stop: Error {}

    private func poolWithTable(connections: Int = 2) async throws -> PostgresPool {
        let pool = try await makePool(connections: connections)
        _ = try await pool.query(
            "CREATE TABLE t (a bigint CONSTRAINT t_a_key UNIQUE DEFERRABLE, b bigint CONSTRAINT positive CHECK (b > 0))"
        )
        return pool
    }

    private func rows(_ pool: PostgresPool) async throws -> [Int64] {
        try await pool.query("SELECT a FROM t ORDER BY a").decode(Int64.self)
    }

    @Test func commits() async throws {
        let pool = try await poolWithTable()
        let answer = try await pool.transaction { connection in
            _ = try await connection.query("INSERT INTO t VALUES (1, 1)")
            #expect(try await self.rows(pool) == [])
            return "done"
        }
        #expect(answer == "done")
        #expect(try await rows(pool) == [1])
        await pool.shutdown()
    }

    @Test func failingStatementRollsBack() async throws {
        let pool = try await poolWithTable(connections: 1)
        let error = await failure {
            try await pool.transaction { connection in
                _ = try await connection.query("INSERT INTO t VALUES (1, 1)")
                _ = try await connection.query("INSERT INTO t VALUES (2, -1)")
            }
        }
        #expect(error?.code == .server)
        #expect(error?.sqlState == "23514")
        #expect(error?.constraint == "positive")
        #expect(try await rows(pool) == [])
        await #expect(throws: Stop.self) {
            try await pool.transaction { connection in
                _ = try await connection.query("INSERT INTO t VALUES (1, 1)")
                throw Stop()
            }
        }
        #expect(try await rows(pool) == [])
        await pool.shutdown()
    }

    @Test func swallowedFailureIsNotACommit() async throws {
        let pool = try await poolWithTable()
        let code = await code {
            try await pool.transaction { connection in
                _ = try await connection.query("INSERT INTO t VALUES (1, 1)")
                _ = try? await connection.query("SELECT 1 / 0")
            }
        }
        #expect(code == .transactionAborted)
        #expect(try await rows(pool) == [])
        await pool.shutdown()
    }

    @Test func constraintThatFailsAtCommit() async throws {
        let pool = try await poolWithTable()
        let error = await failure {
            try await pool.transaction { connection in
                try await connection.execute(
                    script: "SET CONSTRAINTS ALL DEFERRED; INSERT INTO t VALUES (1, 1), (1, 1)"
                )
            }
        }
        #expect(error?.sqlState == "23505")
        #expect(error?.constraint == "t_a_key")
        #expect(try await rows(pool) == [])
        await pool.shutdown()
    }

    @Test func serializationFailureIsRepeated() async throws {
        let pool = try await poolWithTable(connections: 8)
        _ = try await pool.query("INSERT INTO t VALUES (0, 1)")
        let rounds = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    try await pool.transaction(isolation: .serializable, attempts: 100) { connection in
                        let old = try await connection.query("SELECT a FROM t").decode(Int64.self)[0]
                        _ = try await connection.query("UPDATE t SET a = \(old + 1)")
                        return 1
                    }
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(rounds == 8)
        #expect(try await rows(pool) == [8])
        // Without a repeat the error comes out.
        let code = await code {
            try await pool.transaction(isolation: .repeatableRead) { connection in
                _ = try await connection.query("SELECT a FROM t")
                _ = try await pool.query("UPDATE t SET a = 100")
                _ = try await connection.query("UPDATE t SET a = 200")
            }
        }
        #expect(code == .serializationFailure)
        #expect(try await rows(pool) == [100])
        await pool.shutdown()
    }

    @Test func cancelledTaskLeavesNothingOpen() async throws {
        let pool = try await poolWithTable(connections: 1)
        let observer = pool
        for _ in 0..<20 {
            let (started, start) = AsyncStream<Void>.makeStream()
            let task = Task {
                try await pool.transaction { connection in
                    _ = try await connection.query("INSERT INTO t VALUES (1, 1)")
                    start.yield()
                    _ = try await connection.query("SELECT pg_sleep(600)")
                }
            }
            _ = await started.first { _ in true }
            task.cancel()
            #expect(await code { try await task.value } == .cancelled)
            #expect(try await rows(observer) == [])
        }
        let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
        #expect(try await pool.value("\(unescaped: open)", as: Int.self) == 0)
        await pool.shutdown()
    }

    @Test func transactionLeftOpenByHandIsRolledBack() async throws {
        let pool = try await poolWithTable(connections: 1)
        try await pool.withConnection { connection in
            try await connection.execute(script: "BEGIN; INSERT INTO t VALUES (1, 1)")
        }
        #expect(try await rows(pool) == [])
        _ = try await pool.query("BEGIN")
        _ = try await pool.query("INSERT INTO t VALUES (2, 1)")
        #expect(try await rows(pool) == [2])
        await pool.shutdown()
    }
}
