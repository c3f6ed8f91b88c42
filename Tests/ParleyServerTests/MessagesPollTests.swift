import NIOCore
import ParleyCore
import ParleyWire
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// Redis's part of a poll: where the queue stands, and what a device that polls has handled.
@Suite struct MessagesPollTests {
    private let day: Int64 = 86_400_000

    private func poll(
        _ stack: MessagesStack,
        _ user: UserID,
        device: String? = "script",
        epoch: String = "e1",
        q: Int64? = nil
    ) async throws -> PollReply {
        let reply = try await stack.client.send(
            PollReply.command(
                user: user,
                device: device.flatMap { DeviceID($0) },
                login: "login",
                cursor: q.map { ClientFrame.Cursor(epoch: epoch, q: $0) },
                deviceLimit: 10
            )
        )
        return try #require(PollReply(reply), "\(reply)")
    }

    /// The place of a device: epoch and q.
    private func place(_ stack: MessagesStack, _ user: UserID, _ device: String = "script") async throws -> String? {
        try await stack.run("HGET", Keys.user(user), "device:\(device)").string?
            .split(separator: " ").prefix(2).joined(separator: " ")
    }

    private func talk(_ stack: MessagesStack, messages: Int = 10) async throws -> Talk {
        let talk = Talk()
        try await stack.seed(talk.conversation)
        for number in 0..<messages { try await stack.commit(talk, body: "\(number)") }
        return talk
    }

    @Test func `a poll learns where the queue stands and begins at its head`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack)
            let reply = try await poll(stack, talk.bob)
            #expect(reply.standing.epoch == "e1")
            #expect(reply.standing.head == 10 && reply.standing.firstAvailable == 1 && !reply.standing.isRevoked)
            #expect(reply.delivered.isEmpty, "skipped is not delivered")
            #expect(try await place(stack, talk.bob) == "e1 10")
        }
    }

    @Test func `a cursor is an acknowledgement, and the queue is trimmed to the slowest device`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack)
            for device in ["script", "phone"] { _ = try await poll(stack, talk.bob, device: device, q: 0) }
            _ = try await poll(stack, talk.bob, q: 7)
            #expect(try await place(stack, talk.bob) == "e1 7")
            #expect(try await stack.queue(talk.bob).count == 10, "the phone holds it")
            let reply = try await poll(stack, talk.bob, device: "phone", q: 4)
            #expect(reply.standing.firstAvailable == 1, "as it was when asked")
            #expect(try await stack.queue(talk.bob).map(\.q) == Array(5...10))
            _ = try await poll(stack, talk.bob, q: 2)
            #expect(try await place(stack, talk.bob) == "e1 7", "a place does not go back")
            #expect(try await poll(stack, talk.bob, q: 2).standing.firstAvailable == 5)
        }
    }

    @Test func `a reader without a device leaves no trace`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack)
            let digest = try await stack.digest
            for q in [nil, 0, 5, 10, 99] as [Int64?] {
                #expect(try await poll(stack, talk.bob, device: nil, q: q).standing.head == 10)
            }
            #expect(try await stack.digest == digest)
        }
    }

    @Test func `a poll that has handled nothing new writes nothing for a while`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack)
            _ = try await poll(stack, talk.bob, q: 5)
            let digest = try await stack.digest
            _ = try await poll(stack, talk.bob, q: 5)
            #expect(try await stack.digest == digest)
            let then = try await stack.now - 61_000
            _ = try await stack.run("HSET", Keys.user(talk.bob), "device:script", "e1 5 \(then) login -")
            _ = try await poll(stack, talk.bob, q: 5)
            let seen = try await stack.run("HGET", Keys.user(talk.bob), "device:script").string?.split(separator: " ")[
                2
            ]
            #expect(try #require(seen.flatMap { Int64($0) }) > then + 30_000, "heard of")
        }
    }

    @Test func `what was delivered is told once, the last of each conversation`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack, messages: 3)
            try await stack.commit(talk, from: talk.bob, body: "his own")
            _ = try await poll(stack, talk.bob, q: 0)
            let first = try await poll(stack, talk.bob, q: 2)
            #expect(first.delivered.map(\.conversation) == [talk.conversation])
            #expect(first.delivered.map(\.seq) == [2])
            #expect(try await poll(stack, talk.bob, q: 2).delivered.isEmpty)
            #expect(try await poll(stack, talk.bob, q: 4).delivered.map(\.seq) == [3], "his own is nobody's news")
            try await stack.commit(talk)
            #expect(try await poll(stack, talk.bob).delivered.isEmpty, "skipped is not delivered")
        }
    }

    @Test func `a cursor of nowhere moves the device to the head`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack)
            _ = try await poll(stack, talk.bob, q: 2)
            #expect(try await poll(stack, talk.bob, q: 9_007_199_254_740_991).standing.head == 10)
            #expect(try await place(stack, talk.bob) == "e1 10")
            _ = try await poll(stack, talk.bob, device: "other", epoch: "old", q: 3)
            #expect(try await place(stack, talk.bob, "other") == "e1 10")
        }
    }

    @Test func `a revoked login or a missing epoch writes nothing`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack)
            _ = try await stack.run("SET", Keys.revoked(talk.bob, "login"), "1")
            #expect(try await poll(stack, talk.bob, q: 5).standing.isRevoked)
            #expect(try await place(stack, talk.bob) == nil)
            _ = try await stack.run("DEL", Keys.epoch)
            #expect(try await poll(stack, talk.ann, q: 5).standing.epoch == "")
            #expect(try await place(stack, talk.ann) == nil)
        }
    }

    @Test func `pollers count among a user's devices and are forgotten like them`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack)
            let now = try await stack.now
            for number in 0..<10 {
                _ = try await poll(stack, talk.bob, device: "d\(number)", q: 0)
                let place = "e1 0 \(now - 100 + Int64(number)) login -"
                _ = try await stack.run("HSET", Keys.user(talk.bob), "device:d\(number)", place)
            }
            #expect(try await poll(stack, talk.bob, device: "d10", q: 0).standing.isOneTooMany)
            #expect(try await poll(stack, talk.bob, device: nil, q: 0).standing.isOneTooMany == false)
            for number in 0..<9 {
                let seen = now - 31 * day - Int64(number)
                _ = try await stack.run("HSET", Keys.user(talk.bob), "device:d\(number)", "e1 0 \(seen) login -")
            }
            #expect(try await !poll(stack, talk.bob, device: "d10", q: 10).standing.isOneTooMany)
            _ = try await poll(stack, talk.bob, device: "d9", q: 10)
            let left = try await stack.run("HKEYS", Keys.user(talk.bob)).array?.compactMap(\.string).sorted()
            #expect(left == ["device:d10", "device:d9"])
            #expect(try await stack.queue(talk.bob).isEmpty)
        }
    }
}
