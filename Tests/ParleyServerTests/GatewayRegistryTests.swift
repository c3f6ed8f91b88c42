import Logging
import NIOCore
import NIOPosix
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// The registry on a real Redis, and the order in which gateways are offered.
@Suite struct GatewayRegistryTests {
    private static func entry(_ name: String, zone: String = "a", sessions: Int = 0, capacity: Int = 100)
        -> GatewayEntry
    {
        GatewayEntry(name: name, url: "http://\(name)", zone: zone, sessions: sessions, capacity: capacity)
    }

    private static func withRedis(_ body: (PrivateRedis, RedisClient) async throws -> Void) async throws {
        let redis = try await PrivateRedis()
        let client = try RedisClient(
            configuration: RedisConfiguration(url: redis.url),
            eventLoops: [MultiThreadedEventLoopGroup.singleton.next()],
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            prepare: { try await RedisFunctions.library.ensure(on: $0) }
        )
        let outcome: Result<Void, any Error>
        do {
            try await client.start(within: .seconds(30))
            outcome = .success(try await body(redis, client))
        } catch {
            outcome = .failure(error)
        }
        await client.close()
        try outcome.get()
    }

    @Test func aNameIsOneProcess() async throws {
        try await Self.withRedis { redis, client in
            let (first, second) = (GatewayRegistry(redis: client), GatewayRegistry(redis: client))
            #expect(try await first.claim("one"))
            #expect(first.entries.isEmpty, "claimed is not offered")
            #expect(try await !second.claim("one"))
            #expect(try await first.renew(Self.entry("one")))
            #expect(try await !second.renew(Self.entry("one", zone: "b")))
            #expect(!second.isCurrent)
            try await second.leave("one")
            #expect(try await redis.command("hget", "gateway:one", "zone") == "a\n")
            #expect(try await first.renew(Self.entry("one")), "what is not the other's, it cannot remove")
            try await first.leave("one")
            #expect(try await second.renew(Self.entry("one", zone: "b")))
        }
    }

    @Test func theLeaseEndsByRedisClock() async throws {
        try await Self.withRedis { redis, client in
            let (first, second) = (GatewayRegistry(redis: client), GatewayRegistry(redis: client))
            #expect(try await first.renew(Self.entry("one")))
            #expect(try await second.renew(Self.entry("two", sessions: 7)))
            let started = try #require(second.entries.first { $0.name == "two" }?.started)
            let time = try #require(Int64(try await redis.command("time").split(separator: "\n")[0]))
            #expect(abs(started / 1000 - time) < 60)
            #expect(second.entries.map(\.name) == ["one", "two"])
            // Whatever a gateway says of times, nobody compares them.
            try await redis.command("hset", "gateway:one", "started", "99999999999999")
            #expect(
                try await eventually {
                    _ = try await second.renew(Self.entry("two", sessions: 7))
                    return second.entries.map(\.name) == ["two"]
                }
            )
            #expect(try await redis.command("smembers", "gateways") == "two\n")
            #expect(second.entries.first?.started == started, "renewals keep it")
            #expect(!first.isCurrent && second.isCurrent)
            #expect(try await first.claim("one"))
        }
    }

    @Test func damagedEntriesHarmNobody() async throws {
        try await Self.withRedis { redis, client in
            let registry = GatewayRegistry(redis: client)
            try await redis.command("set", "gateway:odd", "not a hash")
            try await redis.command("hset", "gateway:half", "sessions", "many")
            try await redis.command("hset", "gateway:vague", "url", "http://vague", "sessions", "many", "capacity", "")
            try await redis.command("sadd", "gateways", "odd", "half", "vague", "gone")
            #expect(try await registry.renew(Self.entry("one")))
            #expect(registry.entries.map(\.name) == ["one", "vague"])
            var generator = SystemRandomNumberGenerator()
            #expect(GatewayChoice.order(registry.entries, zone: nil, using: &generator).map(\.name) == ["one"])
            #expect(try await redis.command("scard", "gateways") == "3\n")
        }
    }

    @Test func theZoneComesFirstThenWhatIsToSpare() {
        var generator = SystemRandomNumberGenerator()
        let entries = [
            Self.entry("far", zone: "b"), Self.entry("half", sessions: 50), Self.entry("empty"),
            Self.entry("full", sessions: 100),
        ]
        var firsts: [String: Int] = [:]
        for _ in 0..<1000 {
            let order = GatewayChoice.order(entries, zone: "a", using: &generator).map(\.name)
            #expect(order.last == "far" && order.count == 3)
            firsts[order[0], default: 0] += 1
        }
        // Drawn twice, weighted 100 to 50: the half full one comes first where both draws hit it, one time in nine.
        #expect(40...250 ~= firsts["half", default: 0])
        #expect(firsts["empty", default: 0] + firsts["half", default: 0] == 1000)
    }

    @Test func aStampedeDoesNotGoToASmallOne() {
        var generator = SystemRandomNumberGenerator()
        let entries = [Self.entry("small", capacity: 10), Self.entry("large", capacity: 10_000)]
        let small = (0..<1000).count { _ in
            GatewayChoice.best(of: entries, zone: nil, using: &generator)?.name == "small"
        }
        #expect(small < 50)
        #expect(GatewayChoice.best(of: [], zone: nil, using: &generator) == nil)
    }
}
