import Histogram
import NIOCore
import NIOPosix
import ParleyClient
import ParleyWire
import Testing

@testable import parley_load

/// The client and the load generator against a gateway in this process.
@Suite struct ParleyClientTests {
    private static func withEcho(
        fault: EchoGateway.Fault? = nil,
        _ body: (EchoGateway, MultiThreadedEventLoopGroup) async throws -> Void
    ) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let gateway = try await EchoGateway.start(on: group, fault: fault)
        let result: Result<Void, any Error>
        do { result = .success(try await body(gateway, group)) } catch { result = .failure(error) }
        try await gateway.stop()
        try await group.shutdownGracefully()
        try result.get()
    }

    private static func session(
        _ name: String,
        at gateway: EchoGateway,
        group: MultiThreadedEventLoopGroup
    ) async throws -> ParleySession {
        let address = try GatewayAddress(gateway.url)
        let api = ParleyAPI(address, group: group)
        let account = try await api.signUp(username: name, password: "password", displayName: name)
        await api.shutdown()
        var configuration = ParleySession.Configuration(gateways: [address], device: try #require(DeviceID("test")))
        configuration.backoff = Backoff(baseMilliseconds: 20)
        return ParleySession(configuration, account: account, group: group)
    }

    @Test func handshakeAnswersTheKeyOfRFC6455() {
        #expect(WebSocketHandshake.accept(key: "dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    }

    @Test(arguments: [
        ("http://127.0.0.1:8080", "127.0.0.1", 8080), ("http://localhost/", "localhost", 80),
        ("http://[::1]:9", "::1", 9),
    ])
    func gatewayURLs(_ url: String, _ host: String, _ port: Int) throws {
        let address = try GatewayAddress(url)
        #expect(address.host == host && address.port == port)
        #expect(try GatewayAddress(address.description) == address)
    }

    @Test(arguments: ["", "https://a", "http://", "http://a:0", "http://a:b", "http://a/path", "ws://a", "http://u@a"])
    func malformedGatewayURLs(_ url: String) {
        #expect(throws: ClientError.self) { try GatewayAddress(url) }
    }

    @Test func nobodyListens() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let api = ParleyAPI(try GatewayAddress("http://127.0.0.1:1"), group: group)
        let error = await #expect(throws: ClientError.self) { try await api.gateways() }
        #expect(error?.code == .connectionFailed)
        try await group.shutdownGracefully()
    }

    @Test func refusalsCarryTheirCode() async throws {
        try await Self.withEcho { gateway, group in
            let api = ParleyAPI(try GatewayAddress(gateway.url), group: group)
            let error = await #expect(throws: ClientError.self) { try await api.gateways() }
            #expect(error?.code == .refused(.notFound))
            await api.shutdown()
            let late = await #expect(throws: ClientError.self) { try await api.gateways() }
            #expect(late?.code == .closed)
        }
    }

    @Test func manyCallsShareFewConnections() async throws {
        try await Self.withEcho { gateway, group in
            let api = ParleyAPI(try GatewayAddress(gateway.url), group: group, connections: 3)
            let users = try await withThrowingTaskGroup(of: UserID.self) { tasks in
                for index in 0..<100 {
                    tasks.addTask {
                        try await api.signUp(username: "u\(index)", password: "password", displayName: "U").user
                    }
                }
                return try await tasks.reduce(into: Set<UserID>()) { $0.insert($1) }
            }
            #expect(users.count == 100)
            await api.shutdown()
        }
    }

    /// Both sides see every message once and in order although the connections break again and again.
    @Test(.timeLimit(.minutes(1))) func sessionsResume() async throws {
        try await Self.withEcho { gateway, group in
            let alice = try await Self.session("alice", at: gateway, group: group)
            let bob = try await Self.session("bob", at: gateway, group: group)
            // A device's first session begins at the head: nothing may be sent before.
            for await update in alice.updates { if case .ready = update { break } }
            var bobs = bob.updates.makeAsyncIterator()
            while let update = await bobs.next() { if case .ready = update { break } }
            let (from, to) = (await alice.account.user, await bob.account.user)
            let sending = Task {
                var sent: [ServerFrame.Sent] = []
                for index in 0..<60 {
                    if index % 10 == 5 { try await gateway.breakConnections() }
                    sent.append(try await alice.send(MessageContent(body: "\(index)"), to: .user(to)))
                }
                return sent
            }
            var received: [Event] = []
            while received.count < 60, let update = await bobs.next() {
                if case .event(_, let event) = update { received.append(event) }
            }
            let sent = try await sending.value
            #expect(received.map(\.body) == (0..<60).map { "\($0)" })
            #expect(received.map(\.seq) == (1...60).map { Int64($0) })
            #expect(received.map(\.mid) == sent.map(\.mid))
            #expect(received.allSatisfy { $0.from == from })
            #expect(await bob.cursor?.q == 60)
            await alice.close()
            await bob.close()
            let error = await #expect(throws: ClientError.self) {
                try await alice.send(MessageContent(body: "late"), to: .user(to))
            }
            #expect(error?.code == .closed)
        }
    }

    @Test func refusedSendThrows() async throws {
        try await Self.withEcho { gateway, group in
            let alice = try await Self.session("alice", at: gateway, group: group)
            let error = await #expect(throws: ClientError.self) {
                try await alice.send(MessageContent(body: "x"), to: .conversation(.randomGroup()))
            }
            #expect(error?.code == .refused(.invalid))
            await alice.close()
        }
    }

    // The load generator.

    private static func chat(_ fault: EchoGateway.Fault?, breaking: Bool = false) async throws -> ChatReport {
        var report: ChatReport?
        try await withEcho(fault: fault) { gateway, group in
            var plan = ChatRun.Plan(users: 20, rate: 400, duration: 1)
            (plan.warmup, plan.drain) = (0.2, breaking ? 30 : 3)
            let breaker = Task {
                // Three times while messages flow; then devices come back in their own time.
                for _ in 0..<3 where breaking {
                    try await Task.sleep(for: .milliseconds(350))
                    try await gateway.breakConnections()
                }
            }
            report = try await ChatRun(gateways: [Target(url: gateway.url)], stack: nil, group: group, plan: plan).run()
            breaker.cancel()
            _ = await breaker.result
        }
        return try #require(report)
    }

    @Test func chatCountsEverythingOnce() async throws {
        let report = try await Self.chat(nil)
        #expect(report.holds)
        #expect(report.results.sent > 0)
        #expect(report.results.acked == report.results.sent)
        #expect(report.results.delivered == 2 * report.results.sent)
        #expect(report.results.latency.count == report.results.sent)
        #expect(report.conversationsRead == 10)
    }

    @Test func chatHoldsWhileConnectionsBreak() async throws {
        let report = try await Self.chat(nil, breaking: true)
        #expect(report.violations == Violations())
        #expect(report.fleet.unexpectedCloses > 0)
        #expect(report.results.delivered == 2 * report.results.sent)
    }

    @Test func checkerSeesADroppedMessage() async throws {
        let report = try await Self.chat(.drop(50))
        #expect(report.violations.lost > 0)
        #expect(!report.holds)
    }

    @Test func checkerSeesADoubledMessage() async throws {
        #expect(try await Self.chat(.double(50)).violations.duplicated > 0)
    }

    @Test func checkerSeesSwappedMessages() async throws {
        #expect(try await Self.chat(.swap(20)).violations.reordered > 0)
    }

    @Test func checkerSeesALeakedMessage() async throws {
        #expect(try await Self.chat(.leak(50)).violations.leaked > 0)
    }

    @Test func checkerSeesAMessageMissingInHistory() async throws {
        let report = try await Self.chat(.forget(50))
        #expect(report.violations.lost > 0)
        #expect(report.results.delivered == 2 * report.results.acked)
    }
}
