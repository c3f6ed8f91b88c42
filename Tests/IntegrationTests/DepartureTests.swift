import NIOCore
import NIOPosix
import ParleyWire
import Synchronization
import TestSupport
import Testing

@testable import ParleyClient

/// How a client finds gateways and goes from one to another when it is told to.
@Suite struct DepartureTests {
    private final class Box: Sendable {
        let count = Atomic<Int>(0)
    }

    /// Somebody who writes to another all the time once both are live, and keeps what comes.
    private final class Chatter: Sendable {
        let session: ParleySession
        private let peer: UserID
        /// How often the connection ended before there was another.
        let breaks: Box
        private let reading: Task<(bodies: [String], positions: [Int64]), Never>
        /// How often it had read from history what its queue does not tell.
        let live: Box
        private let writing = Mutex<Task<Int, any Error>?>(nil)

        init(_ session: ParleySession, to peer: UserID) {
            self.session = session
            self.peer = peer
            let (breaks, live) = (Box(), Box())
            (self.breaks, self.live) = (breaks, live)
            reading = Task {
                var (bodies, positions): ([String], [Int64]) = ([], [])
                for await update in session.updates {
                    if case .disconnected = update { breaks.count.add(1, ordering: .relaxed) }
                    if case .live = update { live.count.add(1, ordering: .relaxed) }
                    guard case .event(let q, let event) = update else { continue }
                    positions.append(q)
                    if event.type == .message, event.from == peer { bodies.append(event.body ?? "") }
                }
                return (bodies, positions)
            }
        }

        func startWriting() {
            let task = Task { [session, peer] in
                var sent = 0
                while !Task.isCancelled {
                    _ = try await session.send(MessageContent(body: "\(sent)"), to: .user(peer))
                    sent += 1
                    try? await Task.sleep(for: .milliseconds(20))
                }
                return sent
            }
            writing.withLock { $0 = task }
        }

        /// Messages sent, each answered.
        func stopWriting() async throws -> Int {
            let task = try #require(writing.withLock { $0 })
            task.cancel()
            return try await task.value
        }

        /// What came.
        func end() async -> (bodies: [String], positions: [Int64]) {
            await session.close()
            return await reading.value
        }

        var position: Int64 { get async { await session.cursor?.q ?? 0 } }
    }

    /// Three pairs at one gateway, then a second one joins, then the first ends: nothing is lost, doubled or out of order,
    /// every send is answered, and nobody who was asked to go was without a connection.
    @Test(.timeLimit(.minutes(5))) func sessionsMoveToANewGatewayAndAwayFromOneThatEnds() async throws {
        let stack = try StackProcess()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let outcome: Result<Void, any Error>
        do {
            let settings = ["PARLEY_REBALANCE_PERCENT=10", "PARLEY_REBALANCE_SESSIONS=1", "PARLEY_DRAIN_MS=12000"]
            try await stack.up(gateways: 1, workers: 1, settings: settings)
            outcome = .success(try await chat(stack, group))
        } catch {
            outcome = .failure(error)
        }
        try await stack.down()
        try await group.shutdownGracefully()
        try outcome.get()
    }

    private func chat(_ stack: StackProcess, _ group: MultiThreadedEventLoopGroup) async throws {
        let seed = try GatewayAddress(try stack.description().gateways[0].url)
        let api = ParleyAPI(seed, group: group)
        var accounts: [Account] = []
        for name in ["ann", "bob", "cid", "dan", "eve", "fay"] {
            let username = "\(name)-\(UserID.random().description.prefix(6))"
            accounts.append(try await api.signUp(username: username, password: "a long password", displayName: name))
        }
        await api.shutdown()
        let sessions = accounts.map { account in
            ParleySession(.init(gateways: [seed], device: DeviceID("test")!), account: account, group: group)
        }
        let chatters = sessions.indices.map { Chatter(sessions[$0], to: accounts[$0 ^ 1].user) }
        for chatter in chatters {
            try #require(try await eventually { chatter.live.count.load(ordering: .relaxed) > 0 })
        }
        for chatter in chatters { chatter.startWriting() }

        try await stack.add("gateway")
        // Each writes its own once a second. Then nobody moves any more.
        for gateway in ["gateway:gateway-1", "gateway:gateway-2"] {
            #expect(try await eventually { try await stack.redis("hget", gateway, "sessions") == "3\n" })
        }
        try await Task.sleep(for: .milliseconds(1500))
        for gateway in ["gateway:gateway-1", "gateway:gateway-2"] {
            #expect(try await stack.redis("hget", gateway, "sessions") == "3\n")
        }
        for chatter in chatters { #expect(chatter.breaks.count.load(ordering: .relaxed) == 0) }

        try await stack.stop("gateway-1")
        #expect(try await eventually { try await stack.redis("hget", "gateway:gateway-2", "sessions") == "6\n" })
        try await check(chatters)
    }

    private func check(_ chatters: [Chatter]) async throws {
        var sent: [Int] = []
        for chatter in chatters { sent.append(try await chatter.stopWriting()) }
        for (index, chatter) in chatters.enumerated() {
            #expect(sent[index ^ 1] > 10)
            // Its queue has its own messages and the other's.
            let all = Int64(sent[index] + sent[index ^ 1])
            #expect(try await eventually { await chatter.position >= all })
        }
        for (index, chatter) in chatters.enumerated() {
            let came = await chatter.end()
            #expect(came.bodies == (0..<sent[index ^ 1]).map { "\($0)" })
            #expect(came.positions == Array(1...Int64(came.positions.count)))
        }
    }

    @Test func theDirectoryAvoidsWhatFailed() throws {
        let (a, b, c) = (try GatewayAddress("http://a"), try GatewayAddress("http://b"), try GatewayAddress("http://c"))
        var directory = GatewayDirectory(seeds: [a])
        #expect(directory.order(at: 0) == [a])
        directory.learn([b, c, a])
        #expect(directory.order(at: 0) == [b, c, a])
        directory.failed(b, at: 1000)
        directory.failed(a, at: 500)
        #expect(directory.order(at: 2000) == [c, a, b], "who failed comes last, the longest ago first")
        directory.learn([])
        directory.learn([b])
        #expect(directory.order(at: 2000) == [a, b], "the seeds are never forgotten")
        #expect(directory.order(at: 1000 + GatewayDirectory.memory) == [b, a])
        directory.succeeded(b)
        #expect(directory.order(at: 2000) == [b, a])
    }

    @Test func aHeadFromBeforeDoesNotSetASessionBack() throws {
        let user = try #require(UserID("bob"))
        var state = SessionState(resume: .init(epoch: "e", q: 5))
        func ready(_ epoch: String, _ head: Int64) -> ServerFrame.Ready {
            .init(user: user, session: "s", epoch: epoch, head: head, mode: .live, now: 0)
        }
        let begins1 = state.ready(ready("e", 5))
        #expect(state.receive(Event(.friendRequest), q: 6) == .handle)
        // The new socket's head was read before the old one brought its last event.
        let begins2 = state.ready(ready("e", 5))
        #expect(!begins1 && !begins2)
        #expect(state.receive(Event(.friendRequest), q: 6) == .skip)
        #expect(state.receive(Event(.friendRequest), q: 7) == .handle)
    }
}
