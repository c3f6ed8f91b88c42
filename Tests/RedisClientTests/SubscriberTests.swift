import NIOCore
import RedisClient
import TestSupport
import Testing

@Suite struct SubscriberTests {
    /// A subscriber, and what it heard: messages as `channel payload`, and `resubscribed`.
    private struct Listener {
        let subscriber: RedisSubscriber
        let heard = Recorder()

        init(_ client: RedisClient) {
            let heard = self.heard
            subscriber = client.subscriber(
                on: testEventLoop,
                onMessage: { heard.add("\(String(buffer: $0)) \(String(buffer: $1))") },
                onResubscribed: { heard.add("resubscribed") }
            )
        }

        /// Returns when the server has confirmed.
        func subscribe(_ channel: String) async {
            let subscriber = self.subscriber
            await withCheckedContinuation { done in
                subscriber.eventLoop.execute { subscriber.subscribe(channel) { done.resume() } }
            }
        }

        func unsubscribe(_ channel: String) {
            let subscriber = self.subscriber
            subscriber.eventLoop.execute { subscriber.unsubscribe(channel) }
        }

        var isHealthy: Bool {
            get async throws {
                let subscriber = self.subscriber
                return try await subscriber.eventLoop.submit { subscriber.isHealthy }.get()
            }
        }

        var resubscriptions: Int { heard.lines.filter { $0 == "resubscribed" }.count }
        var messages: [String] { heard.lines.filter { $0 != "resubscribed" } }
    }

    private func withListener(_ redis: PrivateRedis, _ body: (RedisClient, Listener) async throws -> Void) async throws
    {
        try await withClient(of: redis.url) { client in
            let listener = Listener(client)
            let outcome: Result<Void, any Error>
            do { outcome = .success(try await body(client, listener)) } catch { outcome = .failure(error) }
            await listener.subscriber.close()
            try outcome.get()
        }
    }

    @Test func `what is published after the confirmation arrives, in order`() async throws {
        let redis = try await PrivateRedis()
        try await withListener(redis) { client, listener in
            await listener.subscribe("one")
            await listener.subscribe("two")
            let connection = try #require(client.connections(on: testEventLoop).first)
            for number in 0..<100 {
                let channel = number % 2 == 0 ? "one" : "two"
                #expect(try await connection.send(RedisCommand("PUBLISH", channel, "\(number)")) == .integer(1))
            }
            let expected = (0..<100).map { "\($0 % 2 == 0 ? "one" : "two") \($0)" }
            #expect(try await eventually { listener.messages.count == 100 })
            #expect(listener.messages == expected)
            #expect(try await eventually { try await listener.isHealthy })
        }
    }

    @Test func `nothing arrives after the end of a subscription`() async throws {
        let redis = try await PrivateRedis()
        try await withListener(redis) { client, listener in
            await listener.subscribe("one")
            await listener.subscribe("two")
            listener.unsubscribe("one")
            #expect(try await eventually { try await client.send("PUBLISH", "one", "late") == .integer(0) })
            _ = try await client.send("PUBLISH", "two", "end")
            #expect(try await eventually { listener.messages.last == "two end" })
        }
    }

    @Test func `given up and wanted again at once, a channel is subscribed`() async throws {
        let redis = try await PrivateRedis()
        try await withListener(redis) { client, listener async throws in
            await listener.subscribe("one")
            let subscriber = listener.subscriber
            await withCheckedContinuation { done in
                subscriber.eventLoop.execute {
                    for _ in 0..<10 {
                        subscriber.unsubscribe("one")
                        subscriber.subscribe("one")
                    }
                    subscriber.unsubscribe("one")
                    subscriber.subscribe("one") { done.resume() }
                }
            }
            #expect(try await client.send("PUBLISH", "one", "here") == .integer(1))
            #expect(try await eventually { listener.messages == ["one here"] })
        }
    }

    @Test func `a killed connection comes back with every subscription, and says so`() async throws {
        let redis = try await PrivateRedis()
        try await withListener(redis) { client, listener in
            for number in 0..<20 { await listener.subscribe("c\(number)") }
            let before = listener.resubscriptions
            _ = try await client.send("CLIENT", "KILL", "TYPE", "pubsub")
            #expect(try await eventually { listener.resubscriptions > before })
            for number in 0..<20 {
                #expect(try await client.send("PUBLISH", "c\(number)", "x") == .integer(1))
            }
            #expect(try await eventually { listener.messages.count == 20 })
        }
    }

    @Test func `a restarted server is subscribed to again, with what was wanted meanwhile`() async throws {
        let redis = try await PrivateRedis()
        try await withListener(redis) { client, listener in
            await listener.subscribe("kept")
            await listener.subscribe("given up")
            let before = listener.resubscriptions
            try await redis.kill9()
            #expect(try await eventually { try await !listener.isHealthy })
            listener.unsubscribe("given up")
            async let subscribed: Void = listener.subscribe("new")
            try await redis.restart()
            await subscribed
            #expect(try await eventually { listener.resubscriptions > before })
            #expect(try await client.send("PUBLISH", "kept", "1", repeatable: true) == .integer(1))
            #expect(try await client.send("PUBLISH", "new", "2") == .integer(1))
            #expect(try await client.send("PUBLISH", "given up", "3") == .integer(0))
            #expect(try await eventually { listener.messages.count == 2 })
        }
    }

    @Test func `a wedged connection is noticed and made anew`() async throws {
        let redis = try await PrivateRedis()
        try await withListener(redis) { client, listener async throws in
            await listener.subscribe("one")
            let before = listener.resubscriptions
            redis.pause()
            #expect(try await eventually { try await !listener.isHealthy })
            redis.resume()
            #expect(try await eventually { listener.resubscriptions > before })
            // The server may hold the old connection for a moment longer, and publish to that alone.
            #expect(
                try await eventually {
                    _ = try await client.send("PUBLISH", "one", "x")
                    return !listener.messages.isEmpty
                }
            )
        }
    }
}
