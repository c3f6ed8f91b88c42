import NIOCore
import RedisClient
import Synchronization
import TestSupport
import Testing

/// Commands of many callers on few connections, and what becomes of them when the server goes away.
@Suite struct PipelineTests {
    @Test func `every task gets its own answers`() async throws {
        let redis = try await PrivateRedis()
        try await withClient(of: redis.url) { client in
            let good = try await withThrowingTaskGroup(of: Int.self) { group in
                for task in 0..<200 {
                    group.addTask {
                        var good = 0
                        for round in 0..<50
                        where try await client.send("ECHO", "\(task) \(round)").string
                            == "\(task) \(round)"
                        { good += 1 }
                        return good
                    }
                }
                return try await group.reduce(0, +)
            }
            #expect(good == 10_000)
        }
    }

    @Test func `a server's error has failed, and the connection goes on`() async throws {
        let redis = try await PrivateRedis()
        try await withClient(of: redis.url) { client in
            _ = try await client.send("RPUSH", "list", "1")
            let error = try #require(try await failure { try await client.send("GET", "list") })
            guard case .server(let answer) = error.code else {
                Issue.record("\(error)")
                return
            }
            #expect(answer.kind == "WRONGTYPE")
            #expect(error.outcome == .failed)
            #expect(try await client.send("LLEN", "list") == .integer(1))
        }
    }

    @Test func `a repeatable command asked for while the server is down runs when it is back`() async throws {
        let redis = try await PrivateRedis()
        try await withClient(of: redis.url) { client in
            try await redis.kill9()
            async let answer = client.send("SET", "key", "value", repeatable: true)
            try await Task.sleep(for: .milliseconds(300))
            try await redis.restart()
            #expect(try await answer.string == "OK")
            #expect(try await client.send("GET", "key").string == "value")
        }
    }

    @Test func `in flight at the loss, a repeatable command runs later and another is unknown`() async throws {
        let redis = try await PrivateRedis()
        try await withClient(of: redis.url) { client in
            let connection = try #require(client.connections(on: testEventLoop).first)
            let results = Recorder()
            redis.pause()
            try await connection.eventLoop.submit {
                connection.send(RedisCommand("INCR", "once")) { result in
                    if case .failure(let error) = result { results.add("\(error.code) \(error.outcome)") }
                }
                connection.send(RedisCommand("INCR", "again"), repeatable: true) { result in
                    if case .success(.integer(1)) = result { results.add("again") }
                }
            }.get()
            // They left at the end of that turn of the loop.
            try await connection.eventLoop.submit {}.get()
            try await redis.kill9()
            #expect(try await eventually { results.lines == ["connectionLost unknown"] })
            try await redis.restart()
            #expect(try await eventually { results.lines.last == "again" })
            #expect(try await client.send("GET", "once") == .null)
            #expect(try await client.send("GET", "again").string == "1")
        }
    }

    /// Redis may still run an abandoned connection's command after newer ones, so there are doubles; but where a
    /// reader takes each command's first appearance, no newer one stands before an older.
    @Test func `order is kept through lost connections`() async throws {
        let redis = try await PrivateRedis()
        try await withClient(of: redis.url) { client in
            let connection = try #require(client.connections(on: testEventLoop).first)
            let done = Atomic<Int>(0)
            let failures = Recorder()
            for batch in 0..<20 {
                connection.eventLoop.execute {
                    for number in batch * 25..<(batch + 1) * 25 {
                        connection.send(RedisCommand("RPUSH", "list", "\(number)"), repeatable: true) { result in
                            if case .failure(let error) = result { failures.add("\(number): \(error)") }
                            done.wrappingAdd(1, ordering: .relaxed)
                        }
                    }
                }
                try await Task.sleep(for: .microseconds(Int.random(in: 0..<3000)))
                if batch % 2 == 1 { connection.reset() }
            }
            #expect(try await eventually(within: .seconds(60)) { done.load(ordering: .relaxed) == 500 })
            #expect(failures.lines == [])
            var seen: Set<String> = []
            let list = try await client.send("LRANGE", "list", "0", "-1").array ?? []
            let first = list.compactMap(\.string).filter { seen.insert($0).inserted }
            #expect(first == (0..<500).map(String.init))
        }
    }

    @Test func `a server that hangs longer than a command's time leaves it unknown, and works when it is back`()
        async throws
    {
        let redis = try await PrivateRedis()
        try await withClient(of: redis.url, configure: { $0.commandTimeout = .seconds(1) }) { client in
            redis.pause()
            let error = try #require(try await failure { try await client.send("INCR", "n") })
            #expect(error.code == .timeout)
            #expect(error.outcome == .unknown)
            // Beyond the time after which the connections are given up.
            try await Task.sleep(for: .seconds(3))
            redis.resume()
            let isBack = try await eventually { (try? await client.send("PING").string) == "PONG" }
            #expect(isBack)
        }
    }

    @Test func `only so many commands wait`() async throws {
        let redis = try await PrivateRedis()
        try await withClient(
            of: redis.url,
            configure: {
                $0.maximumQueuedCommands = 10
                $0.connectionsPerLoop = 1
            }
        ) { client in
            let connection = try #require(client.connections(on: testEventLoop).first)
            redis.pause()
            let results = Recorder()
            connection.eventLoop.execute {
                for _ in 0..<11 {
                    connection.send(RedisCommand("PING")) { result in
                        switch result {
                        case .success: results.add("answered")
                        case .failure(let error): results.add("\(error.code) \(error.outcome)")
                        }
                    }
                }
            }
            #expect(try await eventually { results.lines == ["queueFull failed"] })
            redis.resume()
            #expect(try await eventually { results.lines.count == 11 })
            #expect(results.lines.filter { $0 == "answered" }.count == 10)
        }
    }

    @Test func `a closed client says so`() async throws {
        let redis = try await PrivateRedis()
        let client = try await withClient(of: redis.url) { $0 }
        let error = try #require(try await failure { try await client.send("PING") })
        #expect(error.code == .closed)
        #expect(error.outcome == .failed)
    }
}
