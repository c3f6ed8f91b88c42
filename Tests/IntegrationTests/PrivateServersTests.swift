import Foundation
import TestSupport
import Testing

/// The servers that all other tests lean on: what kill, pause and restart do to them.
@Suite struct PrivateServersTests {
    @Test func `redis keeps what it answered through a kill and a restart`() async throws {
        let redis = try await PrivateRedis()
        try await redis.command("set", "key", "value")
        try await redis.kill9()
        await #expect(throws: TestSupportError.self) { try await redis.command("get", "key") }
        try await redis.restart()
        #expect(try await redis.command("get", "key") == "value\n")
        try await redis.restart()
        #expect(try await redis.command("get", "key") == "value\n")
        #expect(FileManager.default.fileExists(atPath: "\(redis.dataDirectory)/appendonlydir"))
    }

    @Test(arguments: [("appendfsync", "always"), ("maxmemory-policy", "noeviction"), ("lazyfree-lazy-expire", "yes")])
    func `redis runs with the settings of Ops`(setting: String, value: String) async throws {
        let redis = try await PrivateRedis()
        #expect(try await redis.command("config", "get", setting) == "\(setting)\n\(value)\n")
    }

    @Test func `a paused redis answers when it is resumed`() async throws {
        let redis = try await PrivateRedis()
        redis.pause()
        async let answer = redis.command("ping")
        try await Task.sleep(for: .seconds(1))
        redis.resume()
        #expect(try await answer == "PONG\n")
    }

    @Test func `postgres comes back from a kill on the same data`() async throws {
        let postgres = try await PrivatePostgres()
        let url = try await postgres.database()
        try await postgres.query("CREATE TABLE kept AS SELECT 42 AS answer", url: url)
        try await postgres.kill9()
        await #expect(throws: TestSupportError.self) { try await postgres.query("SELECT 1", url: url) }
        try await postgres.restart()
        #expect(try await postgres.query("SELECT answer FROM kept", url: url) == "42\n")
        #expect(try await postgres.query("SHOW synchronous_commit", url: url) == "on\n")
    }

    @Test func `databases of the shared server are fresh`() async throws {
        let first = try await PrivatePostgres.database()
        let second = try await PrivatePostgres.database()
        #expect(first != second)
    }
}
