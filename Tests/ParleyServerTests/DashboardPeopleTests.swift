import ParleyCore
import ParleyWire
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// What people see of one user and one conversation, and whether it says why somebody gets nothing.
@Suite struct DashboardPeopleTests {
    private static let hour: Int64 = 3_600_000

    private func user(_ stack: MessagesStack, _ user: UserID) async throws -> [String] {
        let answer = try await stack.run("FCALL_RO", "parley_user", "0", "\(user)")
        return try #require(answer.array, "\(answer)").compactMap(\.string)
    }

    private func conversation(_ stack: MessagesStack, _ conversation: ConversationID) async throws -> [String] {
        let answer = try await stack.run("FCALL_RO", "parley_conversation", "0", "\(conversation)")
        return try #require(answer.array, "\(answer)").compactMap(\.string)
    }

    private func device(
        _ stack: MessagesStack,
        of user: UserID,
        _ name: String,
        epoch: String = "e1",
        q: Int,
        session: String = "s1"
    ) async throws {
        let seen = try await stack.now - 2 * Self.hour - 70_000
        _ = try await stack.run("HSET", Keys.user(user), "device:\(name)", "\(epoch) \(q) \(seen) login1 \(session)")
    }

    private func lease(_ stack: MessagesStack, of user: UserID, _ device: String, gateway: String) async throws {
        let lease = PresenceLease(user: user, holder: device, session: "s1")
        let privacy = PresencePrivacy(version: 1, lastSeen: .friends, isInvisible: false)
        _ = try await stack.client.send(lease.enter(gateway: gateway, milliseconds: 90_000_000, privacy: privacy))
    }

    private func problems(_ lines: [String]) -> [String] { lines.filter { $0.hasPrefix("! ") } }

    @Test func `a user's devices, with what each lacks`() async throws {
        try await MessagesStack.with { stack in
            let (talk, lurker) = (Talk(), UserID.random())
            try await stack.seed(talk.conversation)
            for _ in 0..<5 { try await stack.commit(talk) }
            try await device(stack, of: talk.bob, "phone", q: 5)
            try await device(stack, of: talk.bob, "tablet", q: 3, session: "-")
            try await lease(stack, of: talk.bob, "phone", gateway: "gateway-1.x4qe")
            _ = try await stack.run("SADD", "gateways", "gateway-1")
            _ = try await stack.run("HSET", "gateway:gateway-1", "url", "u")

            let lines = try await user(stack, talk.bob)
            #expect(lines[0] == "user      \(talk.bob) {\(UserShard(of: talk.bob))}, epoch e1")
            #expect(
                lines[1].hasPrefix("queue     5 entries, ") && lines[1].hasSuffix("B, positions 1 to 5"),
                "\(lines[1])"
            )
            #expect(lines[2] == "listening nobody")
            #expect(lines[3].hasPrefix("presence  online since "))
            #expect(lines[3].hasSuffix(", last seen by friends, visible (settings version 1)"))
            let rows = lines[4...6].map { $0.split(separator: " ").joined(separator: " ") }
            #expect(rows[0] == "device place lacks for heard gateway lease socket sign-in")
            #expect(rows[1] == "phone 5 0 - 2.0 h gateway-1 25.0 h s1 login1")
            #expect(rows[2].hasPrefix("tablet 3 2 ") && rows[2].hasSuffix(" 2.0 h - - - login1"), "\(rows[2])")
            #expect(problems(lines) == ["! no gateway has a socket or a waiting poll of theirs"])

            #expect(problems(try await user(stack, lurker)).first == "! Redis knows nothing of this user")
        }
    }

    @Test func `why a user gets nothing`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            for _ in 0..<5 { try await stack.commit(talk) }
            _ = try await stack.run("XTRIM", Keys.queue(talk.bob), "MAXLEN", "=", "1")
            try await device(stack, of: talk.bob, "trimmed", q: 2)
            try await device(stack, of: talk.bob, "old", epoch: "e0", q: 9)
            try await device(stack, of: talk.bob, "slow", q: 4)
            try await device(stack, of: talk.bob, "well", q: 5)
            try await lease(stack, of: talk.bob, "slow", gateway: "gateway-1.x4qe")
            try await lease(stack, of: talk.bob, "well", gateway: "gateway-1.x4qe")
            try await lease(stack, of: talk.bob, "tablet", gateway: "gateway-2.x4qe")
            _ = try await stack.run("SADD", "gateways", "gateway-1")
            _ = try await stack.run("HSET", "gateway:gateway-1", "url", "u")
            let entry = #"{"mid":"1","ts":\#(try await stack.now - 7_210_000),"seq":6,"type":"message"}"#
            _ = try await stack.run("XADD", Keys.queue(talk.bob), "0-*", "e", entry)
            _ = try await stack.run("XDEL", Keys.queue(talk.bob), "0-5")

            #expect(
                problems(try await user(stack, talk.bob)) == [
                    "! no gateway has a socket or a waiting poll of theirs",
                    "! old: its place is of another epoch; it gets a resync when it comes",
                    "! slow: the queue was trimmed above its place, 1 entry is gone; it gets a resync when it comes",
                    "! tablet: gateway-2 is not in the registry: killed, or cut off; the lease ends in 25.0 h",
                    "! trimmed: the queue was trimmed above its place, 3 entries are gone; it gets a resync when it comes",
                    "! well: it is there and does not acknowledge; its client hangs, or reads slowly",
                ]
            )
            _ = try await stack.run("HSET", Keys.user(talk.bob), "absent", "12")
            _ = try await stack.run("DEL", Keys.queue(talk.bob))
            let absent = try await user(stack, talk.bob)
            #expect(absent[1] == "queue     nothing is kept, the position is 12")
            #expect(
                problems(absent).first
                    == "! absent: no device was there for so long that nothing is kept; the next gets a resync"
            )
            _ = try await stack.run("HDEL", Keys.user(talk.bob), "absent")
            _ = try await stack.run("SET", Keys.queue(talk.bob), "damaged")
            let damaged = try await user(stack, talk.bob)
            #expect(damaged[1] == "queue     a string where a stream should be")
            #expect(problems(damaged).first == "! \(Keys.queue(talk.bob)) takes nothing: what is sent stays owed")
            #expect(try await stack.run("FCALL_RO", "parley_top", "0").array != nil)
        }
    }

    @Test func `a conversation's members, and what it owes`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            for _ in 0..<7 { try await stack.commit(talk, from: talk.ann) }
            _ = try await stack.run(
                "HSET",
                Keys.conversation(talk.conversation),
                "read:\(talk.bob)",
                "2",
                "delivered:\(talk.bob)",
                "5"
            )
            let (lo, hi) = try #require(talk.conversation.members)
            let rows = [talk.ann: "0 7 7 0", talk.bob: "0 2 5 5"]
            let lines = try await conversation(stack, talk.conversation)
            #expect(lines[1...2] == ["last      seq 7, membership version 1", "members   2"])
            #expect(
                lines[4...5].map { $0.split(separator: " ").joined(separator: " ") }
                    == [lo, hi].map { "\($0) \(rows[$0] ?? "")" }
            )
            #expect(lines[6] == "fan-out   nothing is owed")
            #expect(lines.last?.hasPrefix("  \(talk.lane) ") == true)

            _ = try await stack.run(
                "HSET",
                Keys.conversation(talk.conversation),
                "closed",
                "*",
                "epoch",
                "e0",
                "pending",
                "1"
            )
            let place = try await stack.now - Self.hour
            _ = try await stack.run(
                "ZADD",
                Keys.pending(talk.lane),
                "\(place)",
                "\(talk.conversation) \(talk.bob) \(place)-0000"
            )
            let later = try await conversation(stack, talk.conversation)
            #expect(later[1] == "last      seq 7, membership version 1, not used yet since Redis lost data")
            #expect(later[2] == "closed    neither may write")
            #expect(later.contains("fan-out   1 part owed, 0 chunks wait, 0 members whose queue refused"))
            #expect(
                problems(later) == ["! a fan-out of this lane has waited for 60.0 min: does a worker hold it?"]
                    || problems(later) == ["! a fan-out of this lane has waited for 1.0 h: does a worker hold it?"]
            )
        }
    }

    @Test func `a big group shows its first members, by when they joined`() async throws {
        try await MessagesStack.with { stack in
            let group = ConversationID.randomGroup()
            var fields = [UserID.random().description, "40 7"]
            for number in 0..<60 { fields += ["member\(10 + number)", "\(number / 2) 250485385350676480"] }
            _ = try await stack.client.send(RedisCommand(["HSET", Keys.members(group)] + fields))
            _ = try await stack.run("HSET", Keys.conversation(group), "mv", "3", "epoch", "e1", "seq", "1000")
            let lines = try await conversation(stack, group)
            #expect(lines[2] == "members   61, of whom the first 50")
            #expect(lines[4] == "  member10          0     0          0   1,000")
            #expect(lines[53] == "  member59         24     0          0     976")
            #expect(lines[54] == "fan-out   nothing is owed")
        }
    }
}
