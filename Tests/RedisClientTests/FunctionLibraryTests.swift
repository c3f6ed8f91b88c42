import RedisClient
import TestSupport
import Testing

@Suite struct FunctionLibraryTests {
    private let library = RedisFunctionLibrary(
        name: "arithmetic",
        sources: [
            "redis.register_function('double_@VERSION@', function(KEYS, ARGV) return tonumber(ARGV[1]) * 2 end)",
            """
            redis.register_function('store_@VERSION@', function(KEYS, ARGV) return redis.call('SET', KEYS[1], 'x') end)
            redis.register_function{
              function_name = 'free_@VERSION@', flags = {'allow-oom'},
              callback = function(KEYS, ARGV) return redis.call('DEL', KEYS[1]) end,
            }
            """,
        ]
    )

    private func withLibrary<R>(_ redis: PrivateRedis, _ body: (RedisClient) async throws -> R) async throws -> R {
        try await withClient(of: redis.url, prepare: { [library] in try await library.ensure(on: $0) }, body)
    }

    private func double(_ number: Int) -> RedisCommand {
        RedisCommand("FCALL", library.function("double"), "0", "\(number)")
    }

    @Test func `names change with the source`() {
        let one = RedisFunctionLibrary(name: "l", sources: ["a", "b"])
        #expect(one.name == RedisFunctionLibrary(name: "l", sources: ["a", "b"]).name)
        #expect(one.name != RedisFunctionLibrary(name: "l", sources: ["a", "c"]).name)
        #expect(one.function("f") == "f_\(one.digest)")
    }

    @Test func `the library is there as soon as the client is`() async throws {
        let redis = try await PrivateRedis()
        try await withLibrary(redis) { client async throws in
            #expect(try await client.send(double(21)) == .integer(42))
        }
        #expect(try await redis.command("function", "list").contains(library.name))
    }

    @Test func `two versions stand side by side`() async throws {
        let redis = try await PrivateRedis()
        let other = RedisFunctionLibrary(
            name: "arithmetic",
            sources: ["redis.register_function('double_@VERSION@', function() return 'other' end)"]
        )
        try await withLibrary(redis) { client in
            try await withClient(of: redis.url, prepare: { try await other.ensure(on: $0) }) { second async throws in
                #expect(try await second.send("FCALL", other.function("double"), "0").string == "other")
                #expect(try await client.send(double(2)) == .integer(4))
            }
        }
    }

    @Test func `of functions with plain names the last process brings its version`() async throws {
        let redis = try await PrivateRedis()
        let versions = ["one", "two"].map {
            RedisFunctionLibrary(
                name: "plain",
                sources: ["redis.register_function('say', function() return '\($0)' end)"],
                isVersioned: false
            )
        }
        #expect(versions.map(\.name) == ["plain", "plain"] && versions[0].function("say") == "say")
        for (version, answer) in zip(versions, ["one", "two"]) {
            for _ in 0..<2 {
                try await withClient(of: redis.url, prepare: { try await version.ensure(on: $0) }) {
                    client async throws in
                    #expect(try await client.send("FCALL", "say", "0").string == answer)
                }
            }
        }
    }

    @Test func `a lost library is loaded again, and repeatable calls do not notice`() async throws {
        let redis = try await PrivateRedis()
        try await withLibrary(redis) { client in
            try await redis.command("function", "flush")
            let answers = try await withThrowingTaskGroup(of: Int64?.self) { group in
                for number in 0..<100 {
                    group.addTask { try await client.send(double(number), repeatable: true).integer }
                }
                return try await group.reduce(into: [Int64?]()) { $0.append($1) }
            }
            #expect(answers.compactMap(\.self).sorted() == (0..<100).map { Int64($0) * 2 })
        }
    }

    @Test func `a call that is not repeatable fails once when the library is lost`() async throws {
        let redis = try await PrivateRedis()
        try await withLibrary(redis) { client in
            try await redis.command("function", "flush")
            let error = try #require(try await failure { try await client.send(double(1)) })
            #expect(error.outcome == .failed)
            #expect(error.message.contains("Function not found"))
            #expect(try await eventually { (try? await client.send(double(1)).integer) == 2 })
        }
    }

    @Test func `a full server refuses writes by kind, and still runs what frees memory`() async throws {
        let redis = try await PrivateRedis()
        try await withLibrary(redis) { client in
            _ = try await client.send("SET", "filler", String(repeating: "x", count: 4 << 20))
            try await redis.command("config", "set", "maxmemory", "2mb")
            for command in [RedisCommand("SET", "k", "v"), RedisCommand("FCALL", library.function("store"), "1", "k")] {
                let error = try #require(try await failure { try await client.send(command, repeatable: true) })
                guard case .server(let answer) = error.code else {
                    Issue.record("\(error)")
                    return
                }
                #expect(answer.kind == "OOM")
                #expect(answer.isRefusingWrites)
                #expect(error.outcome == .failed)
            }
            #expect(try await client.send("FCALL", library.function("free"), "1", "filler") == .integer(1))
            // The buffer that the filler came in counts too, until the server gives it back.
            #expect(try await eventually { (try? await client.send("SET", "k", "v").string) == "OK" })
        }
    }
}
