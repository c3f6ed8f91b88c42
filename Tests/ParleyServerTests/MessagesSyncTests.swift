import NIOCore
import NIOPosix
import ParleyCore
import ParleyWire
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// Sessions and their queues: attach, ack, positions, receipts.
@Suite struct MessagesSyncTests {
    private let day: Int64 = 86_400_000

    private func attach(
        _ stack: MessagesStack,
        _ user: UserID,
        device: String = "phone",
        session: String = "s1",
        keepsPlace: Bool = true,
        resume: (epoch: String, q: Int64)? = nil
    ) async throws -> ParleyServer.Attachment {
        let reply = try await stack.client.send(
            ParleyServer.Attachment.command(
                user: user,
                device: try #require(DeviceID(device)),
                session: session,
                login: "login",
                keepsPlace: keepsPlace,
                resume: resume.map { ClientFrame.Cursor(epoch: $0.epoch, q: $0.q) },
                deviceLimit: 10
            )
        )
        let attachment = ParleyServer.Attachment(reply)
        return try #require(attachment)
    }

    private func ack(_ stack: MessagesStack, _ user: UserID, device: String = "phone", q: Int64, epoch: String? = nil)
        async throws -> Int64?
    {
        try await stack.call(
            "ack",
            [Keys.epoch, Keys.queue(user), Keys.user(user)],
            [epoch ?? stack.epoch, device, "\(q)", "s1", "0"]
        ).integer
    }

    /// The place of a device: epoch and q.
    private func place(_ stack: MessagesStack, _ user: UserID, _ device: String) async throws -> String? {
        try await stack.run("HGET", Keys.user(user), "device:\(device)").string?
            .split(separator: " ").prefix(2).joined(separator: " ")
    }

    /// A conversation with ten messages.
    private func talk(_ stack: MessagesStack, messages: Int = 10) async throws -> Talk {
        let talk = Talk()
        try await stack.seed(talk.conversation)
        for number in 0..<messages { try await stack.commit(talk, body: "\(number)") }
        return talk
    }

    @Test func `a session learns its queue's extent`() async throws {
        try await MessagesStack.with { stack in
            let fresh = try await attach(stack, .random())
            #expect(fresh.epoch == "e1")
            #expect(fresh.head == 0)
            #expect(fresh.firstAvailable == 1)
            #expect(!fresh.isRevoked)
            let talk = try await talk(stack)
            let full = try await attach(stack, talk.bob)
            #expect(full.head == 10 && full.firstAvailable == 1)
            #expect(try await place(stack, talk.bob, "phone") == "e1 10")
            _ = try await ack(stack, talk.bob, q: 10)
            let trimmed = try await attach(stack, talk.bob)
            #expect(trimmed.head == 10 && trimmed.firstAvailable == 11, "an emptied queue keeps its head")
            let extent = try await stack.call("extent", [Keys.epoch, Keys.queue(talk.bob)], readOnly: true)
            #expect(extent.array?.map(\.string) == ["e1", "10", "11"])
        }
    }

    @Test func `a revoked login or a missing epoch attaches nothing`() async throws {
        try await MessagesStack.with { stack in
            let user = UserID.random()
            _ = try await stack.run("SET", Keys.revoked(user, "login"), "1")
            #expect(try await attach(stack, user).isRevoked)
            #expect(try await place(stack, user, "phone") == nil)
            _ = try await stack.run("DEL", Keys.epoch)
            #expect(try await attach(stack, .random()).epoch == "")
        }
    }

    @Test func `a device's place never goes back, and never beyond the head`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack)
            _ = try await attach(stack, talk.bob, resume: ("e1", 4))
            #expect(try await place(stack, talk.bob, "phone") == "e1 4")
            _ = try await attach(stack, talk.bob, resume: ("e1", 2))
            #expect(try await place(stack, talk.bob, "phone") == "e1 4")
            _ = try await attach(stack, talk.bob, resume: ("e1", 9_999))
            #expect(try await place(stack, talk.bob, "phone") == "e1 10")
            _ = try await attach(stack, talk.bob, device: "tablet", resume: ("old", 3))
            #expect(try await place(stack, talk.bob, "tablet") == "e1 10", "a cursor of another epoch says nothing")
            _ = try await attach(stack, talk.bob, device: "browser", keepsPlace: false)
            #expect(try await place(stack, talk.bob, "browser") == nil)
        }
    }

    @Test func `older sessions of the device hear of the new one`() async throws {
        try await MessagesStack.with { stack in
            let user = UserID.random()
            let heard = Payloads()
            let loop = stack.connection.eventLoop
            let subscriber = stack.client.subscriber(
                on: loop,
                onMessage: { _, payload in heard.add(payload) },
                onResubscribed: {}
            )
            await withCheckedContinuation { done in
                loop.execute { subscriber.subscribe(Keys.channel(user)) { done.resume() } }
            }
            _ = try await attach(stack, user, session: "s2")
            #expect(try await eventually { heard.all.count == 1 })
            #expect(heard.all.first.flatMap(UserNotice.init) == .replaced(device: "phone", session: "s2"))
            await subscriber.close()
        }
    }

    @Test func `one device too many is refused, unless another has been away for a day`() async throws {
        try await MessagesStack.with { stack in
            let user = Talk().bob
            for number in 0..<10 { #expect(try await !attach(stack, user, device: "d\(number)").isOneTooMany) }
            #expect(try await attach(stack, user, device: "one-more").isOneTooMany)
            #expect(try await place(stack, user, "one-more") == nil)
            #expect(try await !attach(stack, user, device: "d3").isOneTooMany, "a known device has its place")
            #expect(try await !attach(stack, user, device: "tab", keepsPlace: false).isOneTooMany)

            let now = try await stack.now
            for (device, hours) in [("d4", 25), ("d5", 26), ("d6", 23)] {
                let seen = now - Int64(hours) * 3_600_000
                _ = try await stack.run("HSET", Keys.user(user), "device:\(device)", "e1 0 \(seen) login -")
            }
            #expect(try await !attach(stack, user, device: "one-more").isOneTooMany)
            #expect(try await place(stack, user, "d5") == nil, "the one away for longest gave way")
            #expect(try await place(stack, user, "d4") == "e1 0")
            #expect(try await stack.run("HLEN", Keys.user(user)) == .integer(10))
        }
    }

    @Test func `a socket that is there keeps its device from being forgotten`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack)
            _ = try await attach(stack, talk.bob, resume: ("e1", 3))
            func device() async throws -> KnownDevice? {
                try await KnownDevice.all(of: talk.bob, in: stack.client).first
            }
            let then = try await stack.now - 16 * 60_000
            _ = try await stack.run("HSET", Keys.user(talk.bob), "device:phone", "e1 3 \(then) login s1")
            #expect(try await device()?.isConnected == false, "its gateway is gone")
            _ = try await ack(stack, talk.bob, q: 0)
            #expect(try await device()?.isConnected == true)
            #expect(try #require(try await device()).lastSeen > then)
            #expect(try await place(stack, talk.bob, "phone") == "e1 3")
        }
    }

    @Test func `an end of a replaced session leaves the newer one connected`() async throws {
        try await MessagesStack.with { stack in
            let user = UserID.random()
            func end(_ session: String) async throws -> Bool? {
                let keys = [Keys.epoch, Keys.queue(user), Keys.user(user)]
                _ = try await stack.call("ack", keys, ["e1", "phone", "0", session, "1"])
                return try await KnownDevice.all(of: user, in: stack.client).first?.isConnected
            }
            _ = try await attach(stack, user, session: "s1")
            _ = try await attach(stack, user, session: "s2")
            #expect(try await end("s1") == true)
            #expect(try await end("s2") == false)
        }
    }

    @Test func `a login that ends takes its devices from the queue, and late acks do not bring them back`() async throws
    {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack)
            _ = try await attach(stack, talk.bob, resume: ("e1", 0))
            _ = try await stack.run(
                "HSET",
                Keys.user(talk.bob),
                "device:tablet",
                "e1 6 \(try await stack.now) other s2"
            )
            #expect(try await stack.queue(talk.bob).count == 10)
            let revocations = RedisLoginRevocations(redis: stack.client)
            for _ in 0..<2 { try await revocations.revoke(user: talk.bob, login: try #require(LoginID("login"))) }
            #expect(try await stack.queue(talk.bob).map(\.q) == [7, 8, 9, 10], "the other device holds it alone")
            #expect(try await ack(stack, talk.bob, q: 9) == 0)
            #expect(try await KnownDevice.all(of: talk.bob, in: stack.client).map(\.name) == ["tablet"])
            #expect(try await attach(stack, talk.bob).isRevoked)
        }
    }

    @Test func `beyond the cap a device away resyncs, whoever else is there`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            _ = try await attach(stack, talk.bob, resume: ("e1", 0))
            var narrow = CommitConfiguration()
            narrow.queueCap = 100
            for _ in 0..<300 { _ = try await stack.send(talk, configuration: narrow) }
            let back = try await attach(stack, talk.bob, resume: ("e1", 0))
            #expect(back.head == 300 && back.firstAvailable > 1)
            let mode = ResumeDecision.mode(
                resume: ("e1", 0),
                epoch: back.epoch,
                head: back.head,
                firstAvailable: back.firstAvailable
            )
            #expect(mode == .resync)
        }
    }

    @Test func `a page ends where it has enough bytes`() {
        let event = ByteBuffer(repeating: UInt8(ascii: "x"), count: 100_000)
        func reply(_ count: Int) -> RESPValue {
            .array((1...count).map { .array([.bulk(ByteBuffer(string: "0-\($0)")), .array([.null, .bulk(event)])]) })
        }
        #expect(QueuePage(reply(10))?.entries.map(\.q) == [1, 2, 3])
        #expect(QueuePage(reply(10))?.wasFull == true)
        #expect(QueuePage(reply(3))?.wasFull == false)
    }

    @Test func `a queue is trimmed to its slowest device`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack)
            _ = try await attach(stack, talk.bob, resume: ("e1", 0))
            _ = try await attach(stack, talk.bob, device: "tablet", resume: ("e1", 0))
            #expect(try await ack(stack, talk.bob, q: 7) == 0)
            #expect(try await ack(stack, talk.bob, device: "tablet", q: 3) == 3)
            #expect(try await stack.queue(talk.bob).map(\.q) == Array(4...10))
            #expect(try await ack(stack, talk.bob, device: "tablet", q: 2) == 0, "an ack does not go back")
            #expect(try await place(stack, talk.bob, "tablet") == "e1 3")
            #expect(try await ack(stack, talk.bob, device: "tablet", q: 10) == 4)
            #expect(try await place(stack, talk.bob, "tablet") == "e1 10")
            #expect(try await ack(stack, talk.bob, q: 10, epoch: "old") == 0)
            #expect(try await stack.queue(talk.bob).map(\.q) == [8, 9, 10])
            try await stack.commit(talk)
            #expect(try await stack.queue(talk.bob).last?.q == 11)
        }
    }

    @Test func `a device of another epoch holds the queue until it comes back`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack)
            _ = try await attach(stack, talk.bob)
            _ = try await stack.run("HSET", Keys.user(talk.bob), "device:old", "e0 5 \(try await stack.now) login -")
            #expect(try await ack(stack, talk.bob, q: 10) == 0)
        }
    }

    @Test func `a device that was not seen for 30 days is forgotten`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack)
            _ = try await attach(stack, talk.bob)
            let now = try await stack.now
            _ = try await stack.run("HSET", Keys.user(talk.bob), "device:lost", "e1 0 \(now - 31 * day) login -")
            _ = try await stack.run("HSET", Keys.user(talk.bob), "device:away", "e1 2 \(now - 29 * day) login -")
            #expect(try await ack(stack, talk.bob, q: 10) == 2)
            #expect(try await place(stack, talk.bob, "lost") == nil)
            #expect(try await place(stack, talk.bob, "away") == "e1 2")
        }
    }

    @Test func `positions of many sessions in one call`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack, messages: 3)
            let nobody = UserID.random()
            _ = try await stack.run("SET", Keys.revoked(talk.bob, "login"), "1")
            let reply = try await stack.client.send(
                Positions.command(
                    [talk.ann, talk.bob, nobody].map {
                        ReaderPosition(user: $0, login: "login", cursor: 0, lease: nil)
                    },
                    gateway: "g1",
                    lease: 1000
                )
            )
            let positions = try #require(Positions(reply))
            #expect(positions.epoch == "e1")
            #expect(positions.heads.map(\.head) == [3, 3, 0])
            #expect(positions.heads.map(\.isRevoked) == [false, true, false])
        }
    }

    @Test func `receipts rise, stay below what was sent, and reach whom they concern`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await talk(stack, messages: 5)
            func receipt(_ kind: String, _ seq: Int64, epoch: String = "e1") async throws -> String? {
                try await stack.call(
                    "receipt",
                    [
                        Keys.epoch, Keys.conversation(talk.conversation), Keys.queue(talk.bob), Keys.queue(talk.ann),
                    ],
                    [
                        epoch, talk.conversation.description, talk.bob.description, talk.ann.description, kind,
                        "\(seq)", "10000",
                    ]
                ).string
            }
            #expect(try await receipt("delivered", 2, epoch: "old") == "epoch e1")
            #expect(try await receipt("delivered", 2) == "done")
            #expect(try await receipt("delivered", 2) == "known")
            #expect(try await receipt("delivered", 1) == "known")
            #expect(try await stack.queue(talk.bob).count == 5, "delivery says nothing to the one who got it")
            #expect(try await receipt("read", 3) == "done")
            #expect(try await receipt("read", 3) == "known")
            #expect(try await receipt("delivered", 3) == "known", "what is read is delivered")
            #expect(try await receipt("read", 9_999) == "done")
            #expect(try await receipt("read", 5) == "known", "capped by what was sent")
            let told = try await stack.queue(talk.ann).map(\.event).filter { $0.type == .receipt }
            #expect(told.map(\.read) == [0, 3, 5])
            #expect(told.map(\.delivered) == [2, 3, 5])
            #expect(told.allSatisfy { $0.user == talk.bob && $0.conv == talk.conversation })
            let own = try await stack.queue(talk.bob).map(\.event).filter { $0.type == .receipt }
            #expect(own.map(\.read) == [3, 5])
        }
    }
}
