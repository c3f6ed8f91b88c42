import ParleyCore
import ParleyWire
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// Noticing that Redis has lost data, and beginning anew.
@Suite struct MessagesEpochTests {
    private let lane = Lane(number: 7)

    private func isLacking(_ stack: MessagesStack, acknowledged: String, archived: String) async throws -> Bool {
        let answer = try await stack.call("verify", [Keys.lane(lane)], [acknowledged, archived], readOnly: true)
        return try #require(answer.array) == [.integer(1)]
    }

    private func log(_ stack: MessagesStack, _ ids: String...) async throws {
        for id in ids { _ = try await stack.run("XADD", Keys.lane(lane), id, "e", "{}") }
    }

    @Test func `a whole lane is whole, also where it was archived and trimmed`() async throws {
        try await MessagesStack.with { stack in
            #expect(try await !isLacking(stack, acknowledged: "0-0", archived: "0-0"))
            try await log(stack, "1000-0", "1000-1", "2000-0")
            #expect(try await !isLacking(stack, acknowledged: "2000-0", archived: "0-0"))
            _ = try await stack.run("XTRIM", Keys.lane(lane), "MINID", "2000-0")
            #expect(try await !isLacking(stack, acknowledged: "1000-1", archived: "1000-1"))
            _ = try await stack.run("XTRIM", Keys.lane(lane), "MAXLEN", "0")
            #expect(try await !isLacking(stack, acknowledged: "2000-0", archived: "2000-0"))
        }
    }

    @Test func `a cut lane is found`() async throws {
        try await MessagesStack.with { stack in
            #expect(try await isLacking(stack, acknowledged: "1000-0", archived: "0-0"))
            #expect(try await isLacking(stack, acknowledged: "0-0", archived: "1000-0"))
            try await log(stack, "1000-0")
            #expect(try await isLacking(stack, acknowledged: "1000-1", archived: "1000-0"))
            #expect(try await isLacking(stack, acknowledged: "1000-0", archived: "1000-1"))
            // Another process has written since: the last id alone says nothing.
            try await log(stack, "3000-0")
            #expect(try await isLacking(stack, acknowledged: "2000-0", archived: "1000-0"))
        }
    }

    @Test func `several lanes answer with their places`() async throws {
        try await MessagesStack.with { stack in
            try await log(stack, "1000-0")
            let keys = [Keys.lane(Lane(number: 1)), Keys.lane(lane), Keys.lane(Lane(number: 2))]
            let answer = try await stack.call("verify", keys, ["5-0", "0-0", "1000-0", "0-0", "0-0", "5-0"])
            #expect(answer == .array([.integer(1), .integer(3)]))
        }
    }

    /// A log cut back by the loss of Redis's unsynced tail.
    @Test func `messages that are gone with the end of the append-only file are missed`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            try await stack.seed(talk.conversation)
            try await stack.commit(talk)
            let kept = try #require(try await stack.log(talk.lane).last)
            let dump = try await stack.client.send(RedisCommand("DUMP", Keys.lane(talk.lane)))
            let lost = try await stack.commit(talk)
            var restore = RedisCommand.Builder(argumentCount: 5)
            restore.append("RESTORE")
            restore.append(Keys.lane(talk.lane))
            restore.append(0)
            restore.append(try #require(dump.bytes))
            restore.append("REPLACE")
            _ = try await stack.client.send(restore.command)
            func verify(_ id: String) async throws -> RESPValue {
                try await stack.call("verify", [Keys.lane(talk.lane)], [id, "0-0"])
            }
            #expect(try await verify(kept) == .array([]))
            #expect(try await verify(lost.mid.streamID) == .array([.integer(1)]))
        }
    }

    @Test func `a raised lane hands out no id again`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            let ahead = try await stack.now + 3_600_000
            for _ in 0..<2 {
                // On a lane that is not there, and again on one that is.
                _ = try await stack.call("raise", [Keys.lane(talk.lane)], ["\(ahead)-7"])
                #expect(try await stack.log(talk.lane) == [])
            }
            try await stack.seed(talk.conversation)
            let first = try await stack.commit(talk).mid
            #expect(first.streamID == "\(ahead)-8")
            _ = try await stack.call("raise", [Keys.lane(talk.lane)], ["\(ahead + 5)-0"])
            _ = try await stack.call("raise", [Keys.lane(talk.lane)], ["\(ahead)-0"])
            #expect(try await stack.commit(talk).mid.streamID == "\(ahead + 5)-1")
            #expect(try await stack.log(talk.lane).count == 2)
        }
    }

    @Test func `of many who begin a new epoch one wins, and all hear its name`() async throws {
        try await MessagesStack.with { stack in
            let names = try await withThrowingTaskGroup(of: String?.self) { group in
                for number in 0..<20 {
                    group.addTask {
                        try await stack.call("new_epoch", [Keys.epoch], ["e1", "n\(number)", "1"]).string
                    }
                }
                return try await group.reduce(into: Set<String?>()) { $0.insert($1) }
            }
            #expect(names.count == 1)
            #expect(try await stack.run("HGET", Keys.epoch, "id").string == names.first ?? nil)
            #expect(try await stack.run("HGET", Keys.epoch, "since").integer ?? 0 > 0)
        }
    }

    @Test func `the first epoch of an empty deployment has lost nothing`() async throws {
        try await MessagesStack.with { stack async throws in
            #expect(try await stack.run("HGET", Keys.epoch, "since").string == "0")
        }
    }

    @Test func `seeding is repeatable, and jumps in a new epoch`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            #expect(try await stack.seed(talk.conversation, epoch: "old", seq: 4) == "epoch e1")
            #expect(try await stack.seed(talk.conversation, seq: 4) == "seeded 4")
            let digest = try await stack.digest
            #expect(try await stack.seed(talk.conversation, version: 9, seq: 100, jump: 1024) == "seeded 4")
            #expect(try await stack.digest == digest)
            #expect(try await stack.commit(talk).seq == 5)

            _ = try await stack.call("new_epoch", [Keys.epoch], ["e1", "e2", "1"])
            #expect(try await stack.send(talk, lookedUpAt: try await stack.now, epoch: "e2") == .seed)
            #expect(try await stack.seed(talk.conversation, epoch: "e2", seq: 3, jump: 1024) == "seeded 1029")
            #expect(try await stack.seed(talk.conversation, epoch: "e2", seq: 3, jump: 1024) == "seeded 1029")
            let other = Talk()
            #expect(try await stack.seed(other.conversation, epoch: "e2", seq: 70, jump: 1024) == "seeded 1094")
        }
    }
}
