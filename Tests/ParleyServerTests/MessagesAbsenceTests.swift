import NIOCore
import NIOPosix
import ParleyCore
import ParleyWire
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// Users of whom no device was heard of for a week: their queues hold nothing, and go on when they come back.
@Suite struct MessagesAbsenceTests {
    /// Bob's phone was here with everything handled, and is now heard of so many days ago.
    private func talk(_ stack: MessagesStack, days: Int64) async throws -> Talk {
        let talk = Talk()
        try await stack.seed(talk.conversation)
        _ = try await attach(stack, talk.bob)
        try await age(stack, talk.bob, days: days)
        return talk
    }

    private func age(_ stack: MessagesStack, _ user: UserID, device: String = "phone", days: Int64) async throws {
        let seen = try await stack.now - days * 86_400_000
        _ = try await stack.run("HSET", Keys.user(user), "device:\(device)", "e1 0 \(seen) login -")
        _ = try await stack.run("HDEL", Keys.user(user), "since")
    }

    private func attach(_ stack: MessagesStack, _ user: UserID, device: String = "phone", q: Int64? = nil) async throws
        -> ParleyServer.Attachment
    {
        let reply = try await stack.client.send(
            ParleyServer.Attachment.command(
                user: user,
                device: try #require(DeviceID(device)),
                session: "s1",
                login: "login",
                keepsPlace: true,
                resume: q.map { ClientFrame.Cursor(epoch: "e1", q: $0) },
                deviceLimit: 10
            )
        )
        let attachment = ParleyServer.Attachment(reply)
        return try #require(attachment)
    }

    private func poll(_ stack: MessagesStack, _ user: UserID, q: Int64) async throws -> PollReply {
        let cursor = ClientFrame.Cursor(epoch: "e1", q: q)
        let command = PollReply.command(user: user, device: nil, login: "login", cursor: cursor, deviceLimit: 10)
        let reply = try await stack.client.send(command)
        return try #require(PollReply(reply))
    }

    private func mode(_ standing: ParleyServer.Attachment, from q: Int64) -> ServerFrame.Mode {
        ResumeDecision.mode(
            resume: (standing.epoch, q),
            epoch: standing.epoch,
            head: standing.head,
            firstAvailable: standing.firstAvailable
        )
    }

    @Test func `an absent user's queue holds nothing, counts on, and is there when they come back`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack, days: 8)
            for _ in 0..<31 { try await stack.commit(talk) }
            #expect(try await stack.queue(talk.bob).count == 31, "looked at now and then alone")
            for _ in 31..<500 { try await stack.commit(talk) }
            #expect(try await stack.run("EXISTS", Keys.queue(talk.bob)) == .integer(0))
            #expect(try await stack.run("HGET", Keys.user(talk.bob), "absent").integer == 500)

            let back = try await attach(stack, talk.bob, q: 20)
            #expect(back.head == 500 && back.firstAvailable == 501)
            #expect(mode(back, from: 20) == .resync && mode(back, from: 500) == .live)
            #expect(try await stack.run("HEXISTS", Keys.user(talk.bob), "absent") == .integer(0))
            for number in 0..<100 { try await stack.commit(talk, body: "\(number)") }
            let entries = try await stack.queue(talk.bob)
            #expect(entries.map(\.q) == Array(501...600), "present again")
            #expect(entries.map(\.event.seq) == Array(501...600))
        }
    }

    @Test func `one device that is there keeps the queue for all`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack, days: 8)
            _ = try await attach(stack, talk.bob, device: "tablet")
            try await age(stack, talk.bob, device: "tablet", days: 6)
            for _ in 0..<100 { try await stack.commit(talk) }
            #expect(try await stack.queue(talk.bob).count == 100)
            let phone = try await attach(stack, talk.bob, q: 10)
            #expect(mode(phone, from: 10) == .replay)
        }
    }

    @Test func `how long is configurable`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack, days: 8)
            var patient = CommitConfiguration()
            patient.absence = 9 * 86_400_000
            for _ in 0..<100 { _ = try await stack.send(talk, configuration: patient) }
            #expect(try await stack.queue(talk.bob).count == 100)
            patient.absence = 7 * 86_400_000
            for _ in 0..<100 { _ = try await stack.send(talk, configuration: patient) }
            #expect(try await stack.run("HGET", Keys.user(talk.bob), "absent").integer == 200)
        }
    }

    @Test func `without devices it counts from when it was first looked at, or the last return`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            for _ in 0..<100 { try await stack.commit(talk) }
            #expect(try await stack.queue(talk.bob).count == 100, "a new user")
            func pass(days: Int64) async throws {
                let since = try #require(try await stack.run("HGET", Keys.user(talk.bob), "since").integer)
                _ = try await stack.run("HSET", Keys.user(talk.bob), "since", "\(since - days * 86_400_000)")
            }
            try await pass(days: 6)
            for _ in 0..<32 { try await stack.commit(talk) }
            #expect(try await stack.queue(talk.bob).count == 132)
            try await pass(days: 1)
            for _ in 0..<32 { try await stack.commit(talk) }
            #expect(try await stack.run("EXISTS", Keys.queue(talk.bob)) == .integer(0))

            let back = try await poll(stack, talk.bob, q: 100).standing
            #expect(back.head == 164 && mode(back, from: 100) == .resync, "a poll brings the queue back as well")
            for _ in 0..<100 { try await stack.commit(talk) }
            #expect(mode(try await poll(stack, talk.bob, q: 164).standing, from: 164) == .replay)
            #expect(try await stack.queue(talk.bob).map(\.q) == Array(165...264))
        }
    }

    @Test func `whoever listens is there, with a device or without`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack, days: 8)
            let loop = stack.connection.eventLoop
            let subscriber = stack.client.subscriber(on: loop, onMessage: { _, _ in }, onResubscribed: {})
            await withCheckedContinuation { done in
                loop.execute { subscriber.subscribe(Keys.channel(talk.bob)) { done.resume() } }
            }
            for _ in 0..<100 { try await stack.commit(talk) }
            #expect(try await stack.queue(talk.bob).count == 100)
            await subscriber.close()
            let isGone = try await eventually {
                try await stack.run("PUBSUB", "NUMSUB", Keys.channel(talk.bob)).array?.last == .integer(0)
            }
            #expect(isGone)
            for _ in 0..<32 { try await stack.commit(talk) }
            #expect(try await stack.run("EXISTS", Keys.queue(talk.bob)) == .integer(0))
        }
    }

    @Test func `whoever comes back in the moment of a send misses nothing after their head`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack, days: 8)
            var total: Int64 = 0
            for _ in 0..<20 {
                try await age(stack, talk.bob, days: 8)
                // Enough for the next look at the queue's bounds, and some.
                for _ in 0..<40 { try await stack.commit(talk) }
                #expect(try await stack.run("EXISTS", Keys.queue(talk.bob)) == .integer(0))
                let back = try await withThrowingTaskGroup(of: ParleyServer.Attachment?.self) { tasks in
                    for _ in 0..<8 {
                        tasks.addTask {
                            try await stack.commit(talk)
                            return nil
                        }
                    }
                    tasks.addTask { try await attach(stack, talk.bob, q: 0) }
                    return try await tasks.reduce(nil) { $0 ?? $1 }
                }
                total += 48
                let head = try #require(back).head
                #expect(head >= total - 8 && back?.firstAvailable == head + 1)
                #expect(try await stack.queue(talk.bob).map(\.q) == Array(head + 1..<total + 1))
            }
        }
    }
}
