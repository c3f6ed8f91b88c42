import Foundation
import NIOCore
import NIOPosix
import TestSupport
import Testing

@testable import parley_load

/// What a stack uses, read while its processes end and start again.
@Suite(.timeLimit(.minutes(3))) struct ServerMeterTests {
    /// A stack.json that names a Redis and one gateway, a shell that does nothing as fast as it can.
    private final class FakeStack {
        private let directory: String
        private let redis: PrivateRedis
        private var gateway = Process()

        var path: String { "\(directory)/stack.json" }

        init(_ redis: PrivateRedis) throws {
            self.redis = redis
            directory = NSTemporaryDirectory() + "parley-meter-\(UUID().uuidString)"
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
            try startGateway()
        }

        deinit {
            try? endGateway()
            try? FileManager.default.removeItem(atPath: directory)
        }

        func startGateway() throws {
            gateway = Process()
            gateway.executableURL = URL(fileURLWithPath: "/bin/sh")
            // It ends by itself should the test not live to end it.
            gateway.arguments = ["-c", "while kill -0 $1 2>/dev/null; do :; done", "gateway", "\(getpid())"]
            try gateway.run()
            // Nobody runs as the others: a pid whose start is another belongs to somebody else.
            let nobody = #""pid":\#(getpid()),"start_ticks":1"#
            let text = """
                {"gateways":[{"name":"gateway-1","url":"http://127.0.0.1:1","pid":\(gateway.processIdentifier)}],
                 "workers":[{"name":"worker-1",\(nobody)}],
                 "redis":{"name":"redis","url":"\(redis.url)",\(nobody)},
                 "postgres":{"name":"postgres","url":"postgres://",\(nobody)}}
                """
            try Data(text.utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
        }

        func endGateway() throws {
            kill(gateway.processIdentifier, SIGKILL)
            gateway.waitUntilExit()
        }
    }

    private static func withMeter(_ body: (ServerMeter, FakeStack, PrivateRedis) async throws -> Void) async throws {
        let redis = try await PrivateRedis()
        let stack = try FakeStack(redis)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let meter = try ServerMeter(stackPath: stack.path, eventLoop: group.next())
        let outcome: Result<Void, any Error>
        do { outcome = .success(try await body(meter, stack, redis)) } catch { outcome = .failure(error) }
        await meter.close()
        try await group.shutdownGracefully()
        try outcome.get()
    }

    @Test func `the time of a gateway that was killed is kept and that of its successor added`() async throws {
        try await Self.withMeter { meter, stack, _ in
            func reading(above microseconds: Double) async throws -> ServerReading {
                var reading = await meter.sample()
                let isThere = try await eventually {
                    reading = await meter.sample()
                    return reading.cpu[.gateways] ?? 0 >= microseconds
                }
                #expect(isThere)
                return reading
            }
            let first = try await reading(above: 100_000)
            #expect(first.gatewayRSS?.count == 1)
            #expect(first.cpu[.workers] == nil && first.cpu[.redis] == nil && first.cpu[.postgres] == nil)

            try stack.endGateway()
            let between = await meter.sample()
            #expect(between.cpu[.gateways] ?? 0 >= first.cpu[.gateways] ?? 0)
            #expect(between.gatewayRSS == nil)
            #expect(between.since(first).rssPerSession(10) == nil)

            try stack.startGateway()
            let last = try await reading(above: (between.cpu[.gateways] ?? 0) + 100_000)
            #expect(last.gatewayRSS?.count == 1)
            // Another process: it did not grow by that.
            #expect(last.since(first).rssPerSession(10) == nil)
            let cost = try #require(last.since(first).perMessage(10))
            #expect(cost.cpu.gateways >= 10_000)
            #expect(cost.cpu.gateways == cost.cpu.total)
            #expect(last.since(first).perMessage(0) == nil)
        }
    }

    @Test func `memory is that of the same gateways`() async throws {
        try await Self.withMeter { meter, _, _ in
            var first = await meter.sample()
            var last = await meter.sample()
            let id = try #require(first.gatewayRSS?.keys.first)
            first.gatewayRSS?[id] = 1000
            last.gatewayRSS?[id] = 1250
            #expect(last.since(first).rssPerSession(100) == 2.5)
            #expect(last.since(first).rssPerSession(0) == nil)
        }
    }

    @Test func `redis is counted through kill and restart, without what counting takes`() async throws {
        try await Self.withMeter { meter, _, redis in
            let value = String(repeating: "x", count: 1000)
            // *3 $3 SET $3 key $1000 …, and +OK.
            let threeSets = RedisUsage(calls: ["set": 3], input: 3 * 1031, output: 3 * 5)
            var first = await meter.sample()
            var last = first
            // Again where Redis was too slow to answer the meter.
            let isExact = try await eventually {
                first = await meter.sample()
                let idle = await meter.sample()
                for _ in 0..<3 { try await redis.command("set", "key", value) }
                last = await meter.sample()
                return idle.since(first).redis == RedisUsage() && last.since(first).redis == threeSets
            }
            #expect(isExact, "\(String(describing: last.since(first).redis))")
            #expect(last.since(first).perMessage(2)?.redisCalls == ["set": 1.5, "total": 1.5])
            #expect(last.since(first).perMessage(3)?.bytesToRedis == 1031)
            #expect(last.since(first).perMessage(3)?.bytesFromRedis == 5)

            let start = first
            func reaches(sets: Int) async throws -> Bool {
                try await eventually { await meter.sample().since(start).redis?.calls["set"] == sets }
            }
            try await redis.kill9()
            for _ in 0..<2 { #expect(await meter.sample().redis == last.redis) }
            try await redis.restart()
            // What Redis reads back from its log is not counted.
            try await redis.command("set", "key", value)
            #expect(try await reaches(sets: 4))

            let before = await meter.sample()
            redis.pause()
            let paused = await meter.sample()
            redis.resume()
            #expect(paused.redis == before.redis)
            try await redis.command("set", "key", value)
            #expect(try await reaches(sets: 5))
        }
    }

    @Test func `without an answer from redis its figures are absent`() async throws {
        try await Self.withMeter { meter, _, redis in
            try await redis.kill9()
            let (first, last) = (await meter.sample(), await meter.sample())
            #expect(first.redis == nil)
            let cost = try #require(last.since(first).perMessage(1))
            #expect(cost.redisCalls == nil && cost.bytesToRedis == nil && cost.bytesFromRedis == nil)
        }
    }

    @Test func `a stack that is not there is refused`() throws {
        let group = MultiThreadedEventLoopGroup.singleton
        #expect(throws: LoadError.self) { try ServerMeter(stackPath: "/nowhere.json", eventLoop: group.next()) }
    }
}
