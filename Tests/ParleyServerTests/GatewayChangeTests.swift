import HTTPTypes
import NIOCore
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// Edits, deletions and replies, on real stores.
@Suite struct GatewayChangeTests {
    private struct Sent: Decodable {
        let mid: String
        let seq: Int64
        let ts: Int64
        let rev: Int64?
        let dup: Bool?

        var id: MessageID? { MessageID(mid) }
    }

    private struct Pair {
        let stack: GatewayStack
        let ann: GatewayStack.Person
        let bob: GatewayStack.Person
        var conversation: ConversationID { .direct(ann.id, bob.id) }
        var path: String { "/v1/conversations/\(conversation)/messages" }

        init(_ stack: GatewayStack) async throws {
            self.stack = stack
            (ann, bob) = (try await stack.person("ann"), try await stack.person("bob"))
        }

        func say(_ body: String) async throws -> Sent { try await stack.send(body, from: ann, to: bob).decode() }

        func edit(
            _ mid: String,
            _ body: String,
            by person: GatewayStack.Person? = nil,
            cid: ClientMessageID = .random(unixMilliseconds: WallClock.milliseconds())
        ) async throws -> TestAPI.Answer {
            let bytes = Array(#"{"body":"\#(body)"}"#.utf8)
            return try await stack.call(.patch, "\(path)/\(mid)", by: person ?? ann, key: "\(cid)", bytes: bytes)
        }

        func delete(
            _ mid: String,
            by person: GatewayStack.Person? = nil,
            cid: ClientMessageID = .random(unixMilliseconds: WallClock.milliseconds())
        ) async throws -> TestAPI.Answer {
            try await stack.call(.delete, "\(path)/\(mid)", by: person ?? ann, key: "\(cid)", bytes: [])
        }

        /// Oldest first: the body with `*` for an edited one, `-` for a tombstone.
        func history() async throws -> [String] {
            let page = try await stack.services.history.page(of: conversation, .afterSequence(0), limit: 50)
            return page.messages.map {
                $0.isDeleted ? "-\($0.content.body)" : $0.content.body + ($0.rev == nil ? "" : "*")
            }
        }

        func queue(_ person: GatewayStack.Person) async throws -> [Event] {
            let reply = try await stack.client.send("XRANGE", Keys.queue(person.id), "-", "+")
            return try #require(QueuePage(reply)).entries.map { try Event.decode($0.event) }
        }

        /// The lane's entries after a position, as the archiver takes them.
        func archive(from position: Int64 = 0, token: Int64 = 0) async throws {
            let lane = Lane(of: conversation)
            let postgres = stack.services.conversations.postgres
            let reply = try await stack.client.send("XRANGE", Keys.lane(lane), "-", "+")
            var batch = ArchiveBatch()
            _ = batch.add(
                CommitLog.entries(reply),
                of: LaneLeases.Lease(lane: lane, token: token, position: position)
            )
            #expect(try await batch.write(to: postgres) == 0, "nothing is refused")
        }

        /// The archive forgets how far it is.
        func rewind() async throws {
            let number = Int64(Lane(of: conversation).number)
            _ = try await stack.services.conversations.postgres.query(
                "UPDATE lanes SET position = 0 WHERE lane = \(number)"
            )
        }
    }

    @Test func `an edit and a deletion reach everybody in order and history at once`() async throws {
        try await GatewayStack.with { stack in
            let pair = try await Pair(stack)
            let (first, second) = (try await pair.say("one"), try await pair.say("two"))
            let cid = ClientMessageID.random(unixMilliseconds: WallClock.milliseconds())
            let answer = try await pair.edit(first.mid, "won", cid: cid)
            #expect(answer.status == 200, "\(answer.text)")
            let edited: Sent = try answer.decode()
            #expect(edited.mid == first.mid && edited.seq == 1 && edited.dup == nil)
            let deleted: Sent = try await pair.delete(second.mid).decode()
            #expect(deleted.mid == second.mid && deleted.seq == 2)
            #expect(deleted.rev ?? 0 > edited.rev ?? .max)
            #expect(try await pair.say("three").seq == 3, "a change takes no seq")
            for person in [pair.ann, pair.bob] {
                let events = try await pair.queue(person).filter { $0.type != .receipt }
                #expect(events.map(\.type) == [.message, .message, .edited, .deleted, .message])
                #expect(events[2].mid == first.id && events[2].body == "won" && events[2].seq == 1)
                #expect(events[2].rev == edited.rev && events[2].ts == edited.ts && events[2].from == pair.ann.id)
                #expect(events[2].cid == (person.id == pair.ann.id ? cid : nil))
                #expect(events[3].mid == second.id && events[3].body == nil && events[3].rev == deleted.rev)
            }
            let expected = ["won*", "-", "three"]
            #expect(try await pair.history() == expected)
            let page = try await stack.services.history.page(of: pair.conversation, .before(nil), limit: 9)
            let json = String(buffer: ConversationJSON.messages(page, for: pair.bob.id))
            #expect(json.contains(#""body":"won","edited":true,"rev":"#))
            #expect(json.contains(#""deleted":true,"rev":"#) && !json.contains("two"))
            try await pair.archive()
            #expect(try await pair.history() == expected)
            _ = try await stack.client.send("DEL", Keys.lane(Lane(of: pair.conversation)))
            #expect(try await pair.history() == expected, "from the archive alone")
            #expect(try await pair.edit(first.mid, "juan").status == 200, "one that is archived")
            #expect(try await pair.history() == ["juan*", "-", "three"], "before that is archived")
        }
    }

    @Test func `a repeat of a change does nothing, however late`() async throws {
        try await GatewayStack.with { stack in
            let pair = try await Pair(stack)
            let sentCID = ClientMessageID.random(unixMilliseconds: WallClock.milliseconds() - 3_600_000)
            let first: Sent = try await stack.send("one", from: pair.ann, to: pair.bob, cid: sentCID).decode()
            // Older than the memory of Redis: history decides.
            let late = ClientMessageID.random(unixMilliseconds: WallClock.milliseconds() - 3_600_000)
            for cid in [late, .random(unixMilliseconds: WallClock.milliseconds())] {
                let done: Sent = try await pair.edit(first.mid, "won", cid: cid).decode()
                let again: Sent = try await pair.edit(first.mid, "won", cid: cid).decode()
                #expect(done.dup == nil && again.dup == true && again.rev == done.rev && again.ts == done.ts)
                #expect(try await pair.edit(first.mid, "other", cid: cid).problem == .conflict)
                #expect(try await pair.delete(first.mid, cid: cid).problem == .conflict)
            }
            let count = try await pair.queue(pair.bob).count
            try await pair.archive()
            let lane = Lane(of: pair.conversation)
            for key in try await stack.client.send("KEYS", "*{\(lane)}*").array ?? [] {
                guard let key = key.string, !key.hasPrefix("conv:") else { continue }
                _ = try await stack.client.send("DEL", key)
            }
            let again: Sent = try await pair.edit(first.mid, "won", cid: late).decode()
            #expect(again.dup == true && again.mid == first.mid && again.seq == 1)
            #expect(try await pair.edit(first.mid, "other", cid: late).problem == .conflict)
            let repeated: Sent = try await stack.send("one", from: pair.ann, to: pair.bob, cid: sentCID).decode()
            #expect(repeated.dup == true && repeated.mid == first.mid, "the message itself, whose text is another now")
            #expect(try await pair.queue(pair.bob).count == count)
        }
    }

    @Test func `only authors change messages, in time, and none that is gone`() async throws {
        try await GatewayStack.with { stack in
            let pair = try await Pair(stack)
            let first = try await pair.say("one")
            for isArchived in [false, true] {
                if isArchived { try await pair.archive() }
                #expect(try await pair.edit(first.mid, "mine", by: pair.bob).problem == .forbidden)
                #expect(try await pair.delete(first.mid, by: pair.bob).problem == .forbidden)
                #expect(try await pair.edit("7", "x").problem == .notFound)
                #expect(try await pair.edit("x", "x").problem == .notFound)
                let stranger = try await stack.person("eve\(isArchived)")
                #expect(try await pair.edit(first.mid, "x", by: stranger).problem == .notFound)
            }
            #expect(try await pair.edit(first.mid, "").problem == .invalid)
            let elsewhere: Sent = try await stack.send("x", from: pair.ann, to: stack.person("carl")).decode()
            #expect(try await pair.edit(elsewhere.mid, "x").problem == .notFound)
            #expect(try await pair.delete(first.mid).status == 200)
            #expect(try await pair.edit(first.mid, "x").problem == .notFound)
            #expect(try await pair.delete(first.mid).problem == .notFound)
            #expect(try await pair.history() == ["-"])
        }
        var configuration = GatewayConfiguration()
        configuration.changeWindow = -1
        try await GatewayStack.with(configuration) { stack in
            let pair = try await Pair(stack)
            let first = try await pair.say("one")
            #expect(try await pair.edit(first.mid, "x").problem == .forbidden)
            #expect(try await pair.delete(first.mid).problem == .forbidden)
            #expect(try await pair.history() == ["one"])
        }
    }

    @Test func `of edits and a deletion at once nothing is committed after the deletion`() async throws {
        try await GatewayStack.with { stack in
            let pair = try await Pair(stack)
            for _ in 0..<5 {
                let first = try await pair.say("one")
                try await withThrowingTaskGroup(of: Void.self) { tasks in
                    for number in 0..<6 {
                        tasks.addTask { _ = try await pair.edit(first.mid, "\(number)") }
                    }
                    tasks.addTask {
                        let status = try await pair.delete(first.mid).status
                        #expect(status == 200)
                    }
                    try await tasks.waitForAll()
                }
                let events = try await pair.queue(pair.bob).filter { $0.mid == first.id }
                #expect(events.last?.type == .deleted)
                #expect(events.filter { $0.type == .deleted }.count == 1)
                let revisions = events.compactMap(\.rev)
                #expect(revisions == revisions.sorted() && Set(revisions).count == revisions.count)
            }
        }
    }

    @Test func `the archive applies changes once and by revision, in the message's batch or later`() async throws {
        try await GatewayStack.with { stack in
            let pair = try await Pair(stack)
            let (first, second) = (try await pair.say("one"), try await pair.say("two"))
            for body in ["uno", "eins"] { #expect(try await pair.edit(first.mid, body).status == 200) }
            #expect(try await pair.delete(second.mid).status == 200)
            try await pair.archive()
            let postgres = stack.services.conversations.postgres
            let query: PostgresQuery = "SELECT body, rev, is_deleted FROM messages ORDER BY message_id"
            let rows = try await postgres.query(query).decode((String, Int64?, Bool).self)
            #expect(rows.map(\.0) == ["eins", ""] && rows.map(\.2) == [false, true])
            let lane = Lane(of: pair.conversation)
            // A round that is repeated, whole and in parts, changes nothing.
            try await pair.rewind()
            try await pair.archive()
            let entries = CommitLog.entries(try await stack.client.send("XRANGE", Keys.lane(lane), "-", "+"))
            try await pair.rewind()
            var batch = ArchiveBatch()
            _ = batch.add(Array(entries[2...2]), of: LaneLeases.Lease(lane: lane, token: 0, position: 0))
            #expect(try await batch.write(to: postgres) == 0)
            let again = try await postgres.query(query).decode((String, Int64?, Bool).self)
            #expect(again.map(\.0) == ["eins", ""] && again.map(\.2) == [false, true])
            #expect(again.map(\.1) == rows.map(\.1))
            let counts: [Int64] = try await postgres.query("SELECT count(*) FROM message_changes").decode(Int64.self)
            #expect(counts == [3])
            #expect(try await pair.history() == ["eins*", "-"])
        }
    }

    @Test func `a reply names a message of its conversation`() async throws {
        try await GatewayStack.with { stack in
            let pair = try await Pair(stack)
            let first = try await pair.say("one")
            let elsewhere: Sent = try await stack.send("x", from: pair.ann, to: stack.person("carl")).decode()
            func reply(to mid: String) async throws -> TestAPI.Answer {
                let cid = ClientMessageID.random(unixMilliseconds: WallClock.milliseconds())
                let body = #"{"body":"re","reply_to":"\#(mid)"}"#
                return try await stack.post(pair.path, by: pair.bob, key: "\(cid)", body)
            }
            #expect(try await reply(to: elsewhere.mid).problem == .invalid)
            #expect(try await reply(to: "7").problem == .invalid)
            #expect(try await reply(to: first.mid).status == 201)
            try await pair.archive()
            #expect(try await reply(to: first.mid).status == 201)
            let events = try await pair.queue(pair.ann).filter { $0.body == "re" }
            #expect(events.map(\.replyTo) == [first.id, first.id])
            let page = try await stack.services.history.page(of: pair.conversation, .before(nil), limit: 2)
            #expect(page.messages.map(\.content.replyTo) == [first.id, first.id])
        }
    }
}
