import NIOCore
import NIOExtras
import ParleyCore
import ParleyWire
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// Polls that wait, on real stores. Their waits of 30 seconds say that nothing here is found by waiting.
@Suite struct GatewayPollTests {
    /// Two people, the second of whom waits for what the first does.
    private func waiting(
        _ stack: GatewayStack,
        query: String = "",
        identity: ((Identity) -> Identity)? = nil,
        then body: (GatewayStack.Person, GatewayStack.Person, any Channel) async throws -> Void
    ) async throws -> Result<SyncAnswer, any Error> {
        let (ann, bob) = (try await stack.person("ann"), try await stack.person("bob"))
        let channel = try await stack.connection()
        let query = "epoch=\(stack.services.epochs.epoch)&q=0&wait=30\(query)"
        let question = try SyncQuestion(query: query, of: identity?(bob.identity) ?? bob.identity)
        async let answer = Poll.ask(question, stack.hub, stack.services, on: channel)
        #expect(try await eventually { try await stack.listeners(bob) == 1 })
        try await body(ann, bob, channel)
        let result: Result<SyncAnswer, any Error>
        do { result = .success(try await answer) } catch { result = .failure(error) }
        #expect(stack.services.sessionCount == 0)
        #expect(try await eventually { try await stack.listeners(bob) == 0 }, "the subscription ends with the wait")
        try await channel.close()
        return result
    }

    private func code(_ result: Result<SyncAnswer, any Error>) -> ErrorCode? {
        if case .failure(let problem as HTTPProblem) = result { problem.code } else { nil }
    }

    @Test func `a message wakes it`() async throws {
        try await GatewayStack.with { stack in
            let answer = try await waiting(stack) { ann, bob, _ in
                try await stack.send("hello", from: ann, to: bob)
            }.get()
            #expect(answer.events.map(\.q) == [1])
            #expect(answer.head == 1 && !answer.isResync)
            let event = try #require(answer.events.first).event
            #expect(try Event.decode(event).body == "hello")
            #expect(String(buffer: answer.json).hasSuffix(#""body":"hello"}],"resync":false}"#))
        }
    }

    @Test func `a lost wake-up is found by the check of positions`() async throws {
        var configuration = GatewayConfiguration()
        configuration.heartbeat = .seconds(1)
        try await GatewayStack.with(configuration) { stack in
            let answer = try await waiting(stack) { _, bob, _ in
                let event = #"{"type":"friend_request"}"#
                _ = try await stack.client.send("XADD", Keys.queue(bob.id), "0-*", "e", event)
            }.get()
            #expect(answer.events.map(\.q) == [1])
        }
    }

    @Test func `a lost subscription makes it look again`() async throws {
        try await GatewayStack.with { stack in
            let answer = try await waiting(stack) { _, bob, _ in
                // Between the loss and the next SUBSCRIBE nothing of this is heard.
                _ = try await stack.client.send("CLIENT", "KILL", "TYPE", "pubsub")
                _ = try await stack.client.send("XADD", Keys.queue(bob.id), "0-*", "e", #"{"type":"receipt"}"#)
            }.get()
            #expect(answer.events.map(\.q) == [1])
        }
    }

    @Test func `a new epoch ends it with a resync`() async throws {
        try await GatewayStack.with { stack in
            let old = stack.services.epochs.epoch
            let answer = try await waiting(stack) { _, _, _ in
                let command = RedisFunctions.call("new_epoch", keys: [Keys.epoch], [old, "fresh", "1"])
                _ = try await stack.client.send(command)
                stack.services.learnEpoch()
            }.get()
            #expect(answer.isResync && answer.events.isEmpty)
            #expect(answer.epoch == "fresh" && answer.head == 0)
        }
    }

    @Test func `logging out ends it`() async throws {
        try await GatewayStack.with { stack in
            let result = try await waiting(stack) { _, bob, _ in
                _ = try await stack.post("/v1/logout", by: bob, "")
            }
            #expect(code(result) == .unauthorized)
        }
    }

    @Test func `a sign-out whose notice was lost ends it too`() async throws {
        var configuration = GatewayConfiguration()
        configuration.heartbeat = .seconds(1)
        try await GatewayStack.with(configuration) { stack in
            let result = try await waiting(stack) { _, bob, _ in
                let key = Keys.revoked(bob.id, bob.identity.login.description)
                _ = try await stack.client.send("SET", key, "1")
            }
            #expect(code(result) == .unauthorized)
        }
    }

    @Test func `a client that leaves is forgotten, and a drain lets go`() async throws {
        try await GatewayStack.with { stack in
            let left = try await waiting(stack) { _, _, channel in
                channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
            }.get()
            #expect(left.events.isEmpty && !left.isResync && left.head == 0)
        }
        try await GatewayStack.with { stack in
            let drained = try await waiting(stack) { _, _, channel in
                channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
            }.get()
            #expect(drained.events.isEmpty && !drained.isResync && drained.epoch == stack.services.epochs.epoch)
        }
    }

    @Test func `it ends with its token`() async throws {
        try await GatewayStack.with { stack in
            let answer = try await waiting(stack) {
                Identity(user: $0.user, login: $0.login, expiresAt: WallClock.milliseconds() + 5000)
            } then: { _, _, _ in
            }.get()
            #expect(answer.events.isEmpty && answer.head == 0)
        }
    }

    @Test func `one more than a user may have waiting ends the wait of the oldest`() async throws {
        try await GatewayStack.with { stack in
            let (ann, bob) = (try await stack.person("ann"), try await stack.person("bob"))
            let limit = stack.services.commit.deviceLimit
            let query = "epoch=\(stack.services.epochs.epoch)&q=0&wait=30"
            var channels: [any Channel] = []
            var polls: [Task<SyncAnswer, any Error>] = []
            // Ann's own is not one of Bob's.
            for person in [ann] + Array(repeating: bob, count: limit) {
                let channel = try await stack.connection()
                channels.append(channel)
                polls.append(Task { try await stack.poll(person, query, on: channel) })
                let count = polls.count
                #expect(try await eventually { stack.services.sessionCount == count })
            }
            try await Task.sleep(for: .milliseconds(PollAdmission.grace))
            let channel = try await stack.connection()
            channels.append(channel)
            polls.append(Task { try await stack.poll(bob, query, on: channel) })
            let displaced = try await polls[1].value
            #expect(displaced.events.isEmpty && !displaced.isResync && displaced.head == 0)
            #expect(try await eventually { stack.services.sessionCount == limit + 1 })
            try await stack.send("wake up", from: ann, to: bob)
            for poll in [polls[0]] + polls[2...] { #expect(try await poll.value.events.map(\.q) == [1]) }
            for channel in channels { try await channel.close() }
        }
    }

    @Test func `without a wait, or on a connection or a gateway that ends, it answers at once`() async throws {
        try await GatewayStack.with { stack in
            let bob = try await stack.person("bob")
            let channel = try await stack.connection()
            let start = try await stack.poll(bob, "wait=30", on: channel)
            #expect(start.head == 0 && start.events.isEmpty && !start.isResync, "where to begin")
            let cursor = "epoch=\(start.epoch)&q=0"
            #expect(try await stack.poll(bob, cursor, on: channel).events.isEmpty)
            channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
            #expect(try await stack.poll(bob, "\(cursor)&wait=30", on: channel).events.isEmpty)
            stack.services.beginDrain()
            let another = try await stack.connection()
            // An empty answer would be asked again at once, here.
            let refused = await #expect(throws: HTTPProblem.self) {
                try await stack.poll(bob, "\(cursor)&wait=30", on: another)
            }
            #expect(refused?.code == .unavailable)
            try await channel.close()
            try await another.close()
        }
    }

    @Test func `pages of a limit, and what resyncs`() async throws {
        try await GatewayStack.with { stack in
            let (ann, bob) = (try await stack.person("ann"), try await stack.person("bob"))
            let channel = try await stack.connection()
            for number in 1...5 { try await stack.send("\(number)", from: ann, to: bob) }
            let epoch = stack.services.epochs.epoch
            func poll(_ query: String) async throws -> SyncAnswer {
                try await stack.poll(bob, "wait=30&\(query)", on: channel)
            }
            let page = try await poll("epoch=\(epoch)&q=1&limit=2")
            #expect(page.events.map(\.q) == [2, 3] && page.head == 5)
            for cursor in ["epoch=\(epoch)&q=6", "epoch=other&q=3", "epoch=\(epoch)&q=9007199254740991"] {
                let answer = try await poll(cursor)
                #expect(answer.isResync && answer.events.isEmpty && answer.head == 5 && answer.epoch == epoch)
            }
            _ = try await poll("epoch=\(epoch)&q=3&device=script")
            let trimmed = try await poll("epoch=\(epoch)&q=2")
            #expect(trimmed.isResync && trimmed.head == 5)
            #expect(try await poll("epoch=\(epoch)&q=3").events.map(\.q) == [4, 5])
            try await channel.close()
        }
    }

    @Test func `a full gateway takes no more waits`() async throws {
        var configuration = GatewayConfiguration()
        configuration.capacity = 0
        try await GatewayStack.with(configuration) { stack in
            let bob = try await stack.person("bob")
            let channel = try await stack.connection()
            let epoch = try await stack.poll(bob, "", on: channel).epoch
            await #expect(throws: HTTPProblem(.overloaded, "This gateway takes no more readers.")) {
                try await stack.poll(bob, "epoch=\(epoch)&q=0&wait=1", on: channel)
            }
            #expect(stack.services.sessionCount == 0)
            try await channel.close()
        }
    }

    @Test(
        arguments: [
            ("q=1", "epoch"), ("epoch=e1", "q"), ("epoch=e1&q=-1", "q"), ("epoch=e1&q=x", "q"), ("epoch=e1&q=1.5", "q"),
            ("epoch=e1&q=9007199254740992", "q"), ("limit=0", "limit"), ("limit=201", "limit"), ("limit=x", "limit"),
            ("wait=31", "wait"), ("wait=-1", "wait"), ("wait=1s", "wait"), ("device=a%20b", "device"),
            ("device=\(String(repeating: "x", count: 65))", "device"),
        ]
    )
    func `a bad parameter is named`(query: String, parameter: String) throws {
        let identity = Identity(user: .random(), login: .random(), expiresAt: 0)
        let problem = #expect(throws: HTTPProblem.self) { try SyncQuestion(query: query, of: identity) }
        #expect(problem?.code == .invalid)
        #expect(problem?.detail.hasPrefix("\(parameter):") == true, "\(problem?.detail ?? "")")
    }

    @Test func `an empty parameter counts as absent`() throws {
        let identity = Identity(user: .random(), login: .random(), expiresAt: 0)
        let question = try SyncQuestion(query: "epoch=&q=&limit=&wait=&device=", of: identity)
        #expect(question.cursor == nil && question.device == nil && question.limit == 50 && question.wait == .zero)
    }
}
