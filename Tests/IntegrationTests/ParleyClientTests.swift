import NIOCore
import NIOPosix
import ParleyClient
import ParleyWire
import Testing

@testable import parley_load

/// A gateway in this process for as long as the body runs.
func withEcho(
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

/// The client against a gateway in this process.
@Suite struct ParleyClientTests {
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
        try await withEcho { gateway, group in
            let api = ParleyAPI(try GatewayAddress(gateway.url), group: group)
            let error = await #expect(throws: ClientError.self) { try await api.gateways() }
            #expect(error?.code == .refused(.notFound))
            await api.shutdown()
            let late = await #expect(throws: ClientError.self) { try await api.gateways() }
            #expect(late?.code == .closed)
        }
    }

    @Test func whatIsNotAnsweredNamesTheGateway() async throws {
        try await withEcho(fault: .stall(.minutes(1))) { gateway, group in
            let api = ParleyAPI(try GatewayAddress(gateway.url), group: group, timeout: .seconds(1))
            let conversation = ConversationID.direct(.random(), .random())
            let error = await #expect(throws: ClientError.self) { try await api.history(of: conversation, token: "t") }
            #expect(error?.code == .timedOut)
            #expect(error?.message.hasPrefix("\(gateway.url): no answer to GET ") == true)
            await api.shutdown()
        }
    }

    @Test func manyCallsShareFewConnections() async throws {
        try await withEcho { gateway, group in
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
        try await withEcho { gateway, group in
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
        try await withEcho { gateway, group in
            let alice = try await Self.session("alice", at: gateway, group: group)
            let error = await #expect(throws: ClientError.self) {
                try await alice.send(MessageContent(body: "x"), to: .conversation(.randomGroup()))
            }
            #expect(error?.code == .refused(.invalid))
            await alice.close()
        }
    }
}
