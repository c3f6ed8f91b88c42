import ParleyCore
import ParleyWire
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// What Redis puts into the push stream, and what becomes of it there.
@Suite struct PushFeedTests {
    private func enrol(_ users: [UserID], _ stack: MessagesStack) async throws {
        _ = try await stack.client.send(PushCalls.enrol(users.map(\.description), true))
    }

    private func entries(_ stack: MessagesStack, _ key: String = Keys.push) async throws -> [PushEntry] {
        let replies = try await stack.run("XRANGE", key, "-", "+").array ?? []
        let entries = replies.compactMap { PushEntry($0) }
        try #require(entries.count == replies.count)
        return entries
    }

    private func bodies(_ stack: MessagesStack) async throws -> [String] {
        try await entries(stack).map { entry in
            if case .message(let event, _, _) = entry.content { "\(entry.user) \(event.body ?? "")" } else { "read" }
        }
    }

    private func prepare(_ stack: MessagesStack) async throws -> Talk {
        let talk = Talk()
        try await stack.seed(talk.conversation)
        return talk
    }

    @Test func `only who has registered gets entries, and never for their own messages`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await prepare(stack)
            try await stack.commit(talk, body: "before")
            #expect(try await stack.run("EXISTS", Keys.push).integer == 0)
            try await enrol([talk.bob], stack)
            let sent = try await stack.commit(talk, body: "one")
            try await stack.commit(talk, from: talk.bob, body: "own")
            #expect(try await bodies(stack) == ["\(talk.bob) one"])
            let entry = try #require(try await entries(stack).first)
            guard case .message(let event, let epoch, let q) = entry.content else { return #expect(Bool(false)) }
            #expect(
                event.mid == sent.mid && event.seq == sent.seq && event.cid == nil && epoch == stack.epoch && q == 2
            )
            #expect(entry.conversation == talk.conversation && entry.attempts == 0 && entry.registration == nil)
            _ = try await stack.client.send(PushCalls.enrol([talk.bob.description], false))
            try await stack.commit(talk, body: "after")
            #expect(try await entries(stack).count == 1)
            #expect(try await stack.run("HEXISTS", Keys.epoch, "push").integer == 0)
        }
    }

    @Test func `who was at a device a moment ago gets none, a device that is merely there does not count`() async throws
    {
        try await MessagesStack.with { stack in
            let talk = try await prepare(stack)
            try await enrol([talk.bob], stack)
            let lease = PresenceLease(user: talk.bob, holder: "laptop", session: "s1")
            let privacy = PresencePrivacy(version: 1, lastSeen: .friends, isInvisible: true)
            _ = try await stack.client.send(lease.enter(gateway: "g", milliseconds: 60_000, privacy: privacy))
            try await stack.commit(talk, body: "open laptop")
            _ = try await stack.client.send(PresenceCalls.active(talk.bob))
            try await stack.commit(talk, body: "at the laptop")
            _ = try await stack.run("HSET", Keys.presence(talk.bob), "here", "\(try await stack.now - 60_001)")
            try await stack.commit(talk, body: "gone again")
            #expect(try await bodies(stack) == ["\(talk.bob) open laptop", "\(talk.bob) gone again"])
        }
    }

    @Test func `the last lease's end pushes what nobody acknowledged`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await prepare(stack)
            try await enrol([talk.bob], stack)
            try await stack.commit(talk, body: "old")
            _ = try await stack.call(
                "attach",
                [Keys.epoch, Keys.queue(talk.bob), Keys.user(talk.bob), Keys.revoked(talk.bob, "l1")],
                ["\(talk.bob)", "phone", "s1", "1", "", "", "l1", "10"]
            )
            let lease = PresenceLease(user: talk.bob, holder: "phone", session: "s1")
            let privacy = PresencePrivacy(version: 1, lastSeen: .friends, isInvisible: false)
            _ = try await stack.client.send(lease.enter(gateway: "g", milliseconds: 60_000, privacy: privacy))
            _ = try await stack.client.send(PresenceCalls.active(talk.bob))
            _ = try await stack.run("DEL", Keys.push)
            try await stack.commit(talk, body: "into the tunnel")
            #expect(try await entries(stack).isEmpty)
            _ = try await stack.client.send(lease.leave(remainder: 0))
            #expect(try await bodies(stack) == ["\(talk.bob) into the tunnel"])
            _ = try await stack.client.send(PresenceCalls.sweep([talk.bob]))
            #expect(try await entries(stack).count == 1, "once")
        }
    }

    @Test func `an absent user is pushed to`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await prepare(stack)
            try await enrol([talk.bob], stack)
            _ = try await stack.run("HSET", Keys.user(talk.bob), "absent", "41")
            try await stack.commit(talk, body: "long ago")
            let entry = try #require(try await entries(stack).first)
            guard case .message(_, _, let q) = entry.content else { return #expect(Bool(false)) }
            #expect(q == 0)
            #expect(try await stack.run("HGET", Keys.user(talk.bob), "absent").integer == 42)
        }
    }

    @Test func `what was pushed is cleared when it is read, once`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await prepare(stack)
            try await enrol([talk.bob], stack)
            for body in ["one", "two", "three"] { try await stack.commit(talk, body: body) }
            func read(_ seq: Int64) async throws {
                let receipt = Receipt(conversation: talk.conversation, user: talk.bob, kind: .read, seq: seq)
                let command = try #require(receipt.command(epoch: stack.epoch, queueCap: 100))
                _ = try await stack.client.send(command)
            }
            let conversation = Keys.conversation(talk.conversation)
            func standing() async throws -> PushStanding {
                let entry = try #require(try await entries(stack).first)
                let reply = try await stack.client.send(PushCalls.look([(entry, ["a", "b"])]))
                return try #require(reply.array?.first.flatMap { PushStanding($0) })
            }
            #expect(try await standing().badge == 3)
            try await read(1)
            #expect(try await entries(stack).count == 3, "nothing was sent that could be cleared")
            let first = try #require(try await entries(stack).first)
            let bucket = Keys.pushed(milliseconds: first.milliseconds)
            _ = try await stack.client.send(
                PushCalls.settle(["sent", bucket, "a", Keys.unread(talk.bob), conversation, "2"])
            )
            let between = try await standing()
            #expect(between.badge == 2 && between.read == 1 && between.wasSent == [true, false])
            try await read(2)
            try await read(3)
            let clears = try await entries(stack).dropFirst(3)
            #expect(clears.count == 1)
            guard case .read(let seq)? = clears.first?.content else { return #expect(Bool(false)) }
            #expect(seq == 2)
            #expect(try await standing().badge == 0)
            #expect(try await stack.run("EXISTS", Keys.unread(talk.bob)).integer == 0)
        }
    }

    @Test func `retries come back when they are due, and dead letters when they are replayed`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await prepare(stack)
            try await enrol([talk.bob], stack)
            try await stack.commit(talk, body: "with \"quotes\", \\ and ünïcode\n\u{1}")
            let entry = try #require(try await entries(stack).first)
            let registration = PushRegistration(
                id: 17,
                user: talk.bob,
                device: "phone",
                address: PushAddress(provider: .webhook, token: "t"),
                hidesContent: false,
                registeredAt: 0
            )
            _ = try await stack.run("XGROUP", "CREATE", Keys.push, PushCalls.group, "0")
            _ = try await stack.run("XREADGROUP", "GROUP", PushCalls.group, "w", "STREAMS", Keys.push, ">")
            let now = try await stack.now
            let soon = entry.fields(for: registration, attempts: 3)
            let late = entry.fields(for: registration, attempts: 4)
            let dead = entry.fields(for: registration, attempts: 5, reason: "for good")
            _ = try await stack.client.send(
                PushCalls.settle(
                    ["retry", "\(now - 1)", "\(soon.count)"] + soon + ["retry", "\(now + 3_600_000)", "\(late.count)"]
                        + late
                        + ["dead", "\(dead.count)"] + dead + ["done", PushCalls.group, entry.id]
                )
            )
            #expect(try await entries(stack).isEmpty)
            #expect(try await stack.run("XPENDING", Keys.push, PushCalls.group).array?.first?.integer == 0)
            #expect(try await stack.client.send(PushCalls.due(limit: 10)).integer == 1)
            #expect(try await stack.client.send(PushCalls.due(limit: 10)).integer == 0)
            let back = try #require(try await entries(stack).first)
            #expect(back.attempts == 3 && back.registration == 17 && back.since == entry.since)
            #expect(try await bodies(stack) == ["\(talk.bob) with \"quotes\", \\ and ünïcode\n\u{1}"])
            let letter = try #require(try await entries(stack, Keys.pushDead).first)
            #expect(try await stack.client.send(PushCalls.replay([letter.id, "1-1"])).integer == 1)
            #expect(try await entries(stack, Keys.pushDead).isEmpty)
            let replayed = try #require(try await entries(stack).last)
            #expect(replayed.attempts == 0 && replayed.registration == 17 && replayed.since == replayed.enteredAt)
        }
    }

    @Test func `who needs a push no more`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await prepare(stack)
            try await enrol([talk.bob], stack)
            try await stack.commit(talk)
            let entry = try #require(try await entries(stack).first)
            func reason(_ text: String, muted: Bool = false, quiet: Bool = false) throws -> PushDrop? {
                let standing = try #require(PushStanding(.simple(text)))
                return entry.reasonToDrop(standing, isMuted: muted, isQuiet: quiet)
            }
            #expect(try reason("e1 0 0 1 0") == nil)
            #expect(try reason("e1 1 0 1 0") == .acknowledged)
            #expect(try reason("e2 5 0 1 0") == nil, "positions of another epoch say nothing")
            #expect(try reason("e1 0 1 0 0") == .read)
            #expect(try reason("e1 0 0 1 0", muted: true) == .muted)
            #expect(try reason("e1 0 0 1 0", quiet: true) == .quiet)
        }
    }
}
