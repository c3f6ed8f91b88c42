import ParleyCore
import ParleyWire
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// Fan-outs that the commit could not finish: marks, and whoever works through them.
@Suite struct MessagesDeliveryTests {
    /// Delivers what is pending for a user; with `dies`, all but the last step.
    /// - Returns: the answers of `deliver`.
    @discardableResult
    private func settle(_ stack: MessagesStack, _ talk: Talk, _ user: UserID, dies: Bool = false) async throws
        -> [String]
    {
        var answers: [String] = []
        while true {
            let listed = try await stack.call(
                "pending_events",
                [Keys.pending(talk.lane), Keys.lane(talk.lane)],
                [talk.conversation.description, user.description, "\(talk.lane.number)"],
                readOnly: true
            )
            let parts = (listed.array ?? []).compactMap(\.string)
            guard !parts.isEmpty else { return answers }
            var done: [String] = []
            for index in stride(from: 0, to: parts.count, by: 2) {
                let place = try #require(parts[index].split(separator: " ").last)
                let answer = try await stack.call(
                    "deliver",
                    [Keys.epoch, Keys.queue(user), Keys.user(user)],
                    [
                        stack.epoch, talk.conversation.description, user.description, "\(place)", parts[index + 1],
                        "10000",
                    ]
                )
                answers.append(answer.string ?? "")
                guard ["delivered", "repeat"].contains(answers.last) else { return answers }
                done.append(parts[index])
            }
            if dies { return answers }
            _ = try await stack.call("settled", [Keys.pending(talk.lane), Keys.conversation(talk.conversation)], done)
        }
    }

    private func pendingCount(_ stack: MessagesStack, _ talk: Talk) async throws -> Int64? {
        try await stack.run("HGET", Keys.conversation(talk.conversation), "pending").integer
    }

    /// A conversation whose recipient's queue refuses writes, with three messages pending.
    private func broken(_ stack: MessagesStack) async throws -> Talk {
        let talk = Talk()
        try await stack.seed(talk.conversation)
        try await stack.commit(talk, body: "0")
        _ = try await stack.run("RENAME", Keys.queue(talk.bob), "aside")
        _ = try await stack.run("SET", Keys.queue(talk.bob), "not a stream")
        for number in 1...3 {
            let answer = try await stack.send(talk, body: "\(number)")
            #expect(answer.result?.seq == Int64(number) + 1)
            // The first holds back its recipient only; what follows may overtake it nowhere.
            #expect(Set(answer.pending ?? []) == (number == 1 ? [talk.bob] : [talk.ann, talk.bob]))
        }
        return talk
    }

    private func repair(_ stack: MessagesStack, _ talk: Talk) async throws {
        _ = try await stack.run("DEL", Keys.queue(talk.bob))
        _ = try await stack.run("RENAME", "aside", Keys.queue(talk.bob))
    }

    private func expectWhole(_ stack: MessagesStack, _ talk: Talk, count: Int) async throws {
        for user in [talk.ann, talk.bob] {
            #expect(try await stack.bodies(user) == (0..<count).map(String.init))
            let queue = try await stack.queue(user)
            #expect(queue.compactMap(\.event.seq) == (0..<count).map { Int64($0) + 1 })
            #expect(queue.allSatisfy { ($0.event.cid != nil) == (user == talk.ann) }, "the cid is the sender's alone")
            #expect(queue.map(\.q) == (0..<count).map { Int64($0) + 1 })
        }
        #expect(try await pendingCount(stack, talk) == 0)
        #expect(try await stack.marks(talk.lane) == [])
        let log = try await stack.log(talk.lane).compactMap { MessageID(streamID: $0, lane: talk.lane) }
        #expect(try await stack.queue(talk.bob).compactMap(\.event.mid) == log)
    }

    @Test func `a queue that refuses leaves marks, and order is restored when it is mended`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await broken(stack)
            #expect(try await pendingCount(stack, talk) == 5)
            let refused = try await settle(stack, talk, talk.bob)
            #expect(refused.count == 1 && refused[0].hasPrefix("failed "))
            try await repair(stack, talk)
            #expect(try await stack.send(talk, body: "4").pending?.count == 2, "behind the pending ones")
            try await settle(stack, talk, talk.bob)
            #expect(try await stack.send(talk, body: "5").pending?.count == 2, "the sender's are pending still")
            try await settle(stack, talk, talk.ann)
            try await settle(stack, talk, talk.bob)
            #expect(try await stack.send(talk, body: "6").pending == [])
            try await expectWhole(stack, talk, count: 7)
        }
    }

    @Test func `settling is repeatable after a death between delivery and its note`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await broken(stack)
            try await repair(stack, talk)
            #expect(try await settle(stack, talk, talk.bob, dies: true) == ["delivered", "delivered", "delivered"])
            #expect(try await settle(stack, talk, talk.bob) == ["repeat", "repeat", "repeat"])
            #expect(try await settle(stack, talk, talk.bob) == [])
            try await settle(stack, talk, talk.ann)
            try await expectWhole(stack, talk, count: 4)
        }
    }

    @Test func `many who settle at once, while more is sent, lose and double nothing`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await broken(stack)
            try await repair(stack, talk)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<8 {
                    group.addTask {
                        for _ in 0..<6 { try await settle(stack, talk, number % 2 == 0 ? talk.bob : talk.ann) }
                    }
                }
                for number in 4..<30 { try await stack.commit(talk, body: "\(number)") }
                try await group.waitForAll()
            }
            for user in [talk.ann, talk.bob] { try await settle(stack, talk, user) }
            try await expectWhole(stack, talk, count: 30)
        }
    }

    @Test func `a repeated settled counts nothing twice`() async throws {
        try await MessagesStack.with { stack in
            let talk = try await broken(stack)
            let marks = try await stack.marks(talk.lane)
            let keys = [Keys.pending(talk.lane), Keys.conversation(talk.conversation)]
            #expect(try await stack.call("settled", keys, [marks[0]]) == .integer(1))
            #expect(try await stack.call("settled", keys, [marks[0]]) == .integer(0))
            #expect(try await pendingCount(stack, talk) == 4)
        }
    }

    @Test func `recipients on other servers are left to delivery`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            let cluster = CommitConfiguration(placement: .hashSlots)
            let colocated = [talk.ann, talk.bob].filter {
                RedisPlacement.hashSlots.areColocated(talk.lane.description, UserShard(of: $0).description)
            }
            for number in 0..<5 {
                let answer = try await stack.send(talk, body: "\(number)", configuration: cluster)
                if number == 0 { #expect(answer.pending?.count == 2 - colocated.count) }
            }
            for user in [talk.ann, talk.bob] { try await settle(stack, talk, user) }
            try await expectWhole(stack, talk, count: 5)
        }
    }

    @Test func `delivery in another epoch is refused`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            let answer = try await stack.call(
                "deliver",
                [Keys.epoch, Keys.queue(talk.bob), Keys.user(talk.bob)],
                ["old", talk.conversation.description, talk.bob.description, "1-0001", "{}", "100"]
            )
            #expect(answer.string == "epoch e1")
            #expect(try await stack.run("EXISTS", Keys.queue(talk.bob)) == .integer(0))
        }
    }

    @Test func `a lane is trimmed to what is archived, and never past a mark`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            for number in 0..<3 { try await stack.commit(talk, body: "\(number)") }
            let keys = [Keys.lane(talk.lane), Keys.pending(talk.lane), Keys.archived(talk.lane)]
            var log = try await stack.log(talk.lane)
            #expect(try await stack.call("trim", keys, [log[1]]) == .integer(2))
            #expect(try await stack.log(talk.lane) == [log[2]])
            #expect(try await stack.call("trim", keys, [log[1]]) == .integer(0))

            _ = try await stack.run("RENAME", Keys.queue(talk.bob), "aside")
            _ = try await stack.run("SET", Keys.queue(talk.bob), "not a stream")
            for number in 3..<6 { try await stack.commit(talk, body: "\(number)") }
            log = try await stack.log(talk.lane)
            #expect(try await stack.call("trim", keys, [try #require(log.last)]) == .integer(1))
            #expect(try await stack.log(talk.lane) == Array(log.dropFirst()), "from the oldest mark on all stays")
            // A mark of the same millisecond that sorts before it by name.
            let oldest = try #require(log.dropFirst().first?.split(separator: "-"))
            _ = try await stack.run("ZADD", Keys.pending(talk.lane), String(oldest[0]), "d:0:1 0 \(oldest[0])-4095")
            _ = try await stack.call("trim", keys, [try #require(log.last)])
            #expect(try await stack.log(talk.lane) == Array(log.dropFirst()), "all of its millisecond stays")
            _ = try await stack.run("ZREM", Keys.pending(talk.lane), "d:0:1 0 \(oldest[0])-4095")
            try await repair(stack, talk)
            for user in [talk.bob, talk.ann] { try await settle(stack, talk, user) }
            #expect(try await stack.bodies(talk.bob) == (0..<6).map(String.init))
            #expect(try await stack.call("trim", keys, [try #require(log.last)]) == .integer(3))
        }
    }
}
