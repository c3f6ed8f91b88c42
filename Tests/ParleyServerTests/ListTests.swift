import Logging
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient
import Testing

@testable import ParleyServer

/// The list of conversations: what it asks of the stores, and what it says while messages move from Redis to history.
@Suite(.serialized) struct ListTests {
    /// A gateway whose questions can be counted.
    private struct Counted {
        let gateway: GroupsGateway
        let pool: PostgresPool

        static func with(_ stack: GroupsStack, _ body: (Counted) async throws -> Void) async throws {
            // One connection, so that it has seen all statements.
            let pool = PostgresPool(
                configuration: PostgresConfiguration(url: stack.database, connections: 1),
                logger: Logger(label: "test")
            )
            let counted = Counted(gateway: try await GroupsGateway(stack.redis, pool, stack.keys, .init()), pool: pool)
            let outcome: Result<Void, any Error>
            do { outcome = .success(try await body(counted)) } catch { outcome = .failure(error) }
            await counted.gateway.redis.close()
            await pool.shutdown()
            try outcome.get()
        }

        /// Commands to Redis and statements to PostgreSQL that `ask` takes.
        func count(_ ask: () async throws -> Void) async throws -> (redis: [String], postgres: Int64) {
            _ = try await gateway.redis.send("CONFIG", "SET", "slowlog-log-slower-than", "0")
            _ = try await gateway.redis.send("CONFIG", "SET", "slowlog-max-len", "10000")
            _ = try await gateway.redis.send("SLOWLOG", "RESET")
            let before = try await statements()
            try await ask()
            let after = try await statements()
            let log = try await gateway.redis.send("SLOWLOG", "GET", "10000").array ?? []
            let commands: [String] = log.compactMap { entry in
                // What a function does has no client.
                guard let parts = entry.array, parts.count > 4, parts[4].string != "?:0" else { return nil }
                return parts[3].array?.first?.string?.uppercased()
            }
            return (commands.filter { $0 != "SLOWLOG" }, after - before - 1)
        }

        private func statements() async throws -> Int64 {
            let sums: [Int64] = try await pool.query(
                "SELECT coalesce(sum(generic_plans + custom_plans), 0)::bigint FROM pg_prepared_statements"
            ).decode(Int64.self)
            return try #require(sums.first)
        }
    }

    @Test func `one row or fifty take as many questions to the stores`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[0]
            let (few, many) = (try await stack.user("few"), try await stack.user("many"))
            let peers = try await stack.users(25)
            try await gateway.commit("hello", from: peers[0].id, to: .direct(few.id, peers[0].id))
            _ = try await stack.group([peers[0], few])
            for peer in peers {
                try await gateway.commit("hello", from: peer.id, to: .direct(many.id, peer.id))
                let group = try await stack.group([peer, many])
                try await gateway.commit("hello", from: peer.id, to: group)
            }
            try await Counted.with(stack) { counted in
                for isArchived in [false, true] {
                    if isArchived { try await stack.archive() }
                    func asked(_ person: Person, rows: Int, limit: Int = 50) async throws -> [String] {
                        // The first time statements are prepared.
                        _ = try await counted.gateway.list(as: person, limit: limit)
                        let count = try await counted.count {
                            let page = try await counted.gateway.list(as: person, limit: limit).conversations
                            #expect(page.count == rows && page.allSatisfy { $0.members.count == 2 })
                        }
                        #expect(count.postgres <= 6, "archived: \(isArchived)")
                        return count.redis + ["\(count.postgres)"]
                    }
                    let one = try await asked(many, rows: 1, limit: 1)
                    #expect(try await asked(many, rows: 50) == one, "archived: \(isArchived)")
                    #expect(try await asked(few, rows: 2) == one, "archived: \(isArchived)")
                    #expect(one.count <= 3, "\(one)")
                    let single = try await counted.count {
                        let id = try await counted.gateway.list(as: few).conversations[0].id
                        _ = try await counted.gateway.get(try #require(ConversationID(id)), as: few)
                    }
                    #expect(single.postgres <= 12 && single.redis.count <= 4, "\(single)")
                }
            }
        }
    }

    @Test func `a whole list by pages, while the archive catches up`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[1]
            let me = try await stack.user()
            var expected: [String] = []
            for (number, peer) in try await stack.users(12).enumerated() {
                let direct = ConversationID.direct(me.id, peer.id)
                try await gateway.commit("first", from: peer.id, to: direct)
                if number == 4 || number == 8 { try await stack.archive() }
                if number % 3 == 0 { try await gateway.commit("second", from: me.id, to: direct) }
                expected.insert(direct.description, at: 0)
            }
            for isArchived in [false, true] {
                if isArchived { try await stack.archive() }
                for limit in [1, 5, 12, 50] {
                    var (found, cursor): ([ConversationAnswer], String?) = ([], nil)
                    repeat {
                        let page = try await gateway.list(as: me, limit: limit, before: cursor)
                        found += page.conversations
                        cursor = page.next
                    } while cursor != nil && found.count < 100
                    #expect(found.map(\.id) == expected, "limit \(limit)")
                    #expect(found.filter { $0.last?.body == "second" }.count == 4)
                    #expect(found.allSatisfy { $0.unread == ($0.last?.body == "second" ? 0 : 1) })
                }
            }
        }
    }

    @Test func `pages go on beyond conversations whose messages history has dropped`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[0]
            let me = try await stack.user()
            var expected: [String] = []
            for peer in try await stack.users(3) {
                let group = try await stack.group([me, peer])
                for conversation in [.direct(me.id, peer.id), group] {
                    try await gateway.commit("hello", from: peer.id, to: conversation)
                    expected.insert(conversation.description, at: 0)
                }
            }
            try await stack.archive()
            _ = try await stack.pool.query(
                "DELETE FROM messages WHERE conversation_id = ANY(\(Array(expected[1...4]))::text[])"
            )
            var (found, cursor): ([ConversationAnswer], String?) = ([], nil)
            repeat {
                let page = try await gateway.list(as: me, limit: 1, before: cursor)
                found += page.conversations
                cursor = page.next
            } while cursor != nil && found.count < 100
            #expect(found.map(\.id) == expected)
            #expect(found.map(\.unread) == [1, 0, 0, 0, 0, 1])
            #expect(found.map { $0.last?.body } == ["hello", nil, nil, nil, nil, "hello"])
        }
    }

    @Test func `a group of which Redis was not told yet stands at the top, and is told`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[0]
            let (me, peer) = (try await stack.user(), try await stack.user())
            try await gateway.commit("hello", from: peer.id, to: .direct(me.id, peer.id))
            let group = try #require(ConversationID.group("halfway"))
            let title = try #require(GroupTitle("Halfway"))
            // As by a gateway that died before it could go on.
            let creation = try await gateway.groups.store.create(
                group,
                title: title,
                members: [peer.id, me.id],
                contentHash: ""
            )
            #expect(creation == .created)
            let page = try await gateway.list(as: me, limit: 1)
            #expect(page.conversations.map(\.id) == [group.description])
            #expect(page.conversations.first?.title == "Halfway")
            let rest = try await gateway.list(as: me, limit: 1, before: page.next)
            #expect(rest.conversations.map(\.id) == [ConversationID.direct(me.id, peer.id).description])
            #expect(rest.next == nil)
            #expect(try await gateway.told(me.id, group) == ["= Halfway"])
        }
    }

    @Test func `a head is the newest message, whoever writes history and in whichever order`() async throws {
        try await GroupsStack.with { stack in
            let pool = stack.pool
            func insert(_ rows: [(id: String, mid: Int64, type: String?)]) async throws {
                _ = try await pool.query(
                    """
                    INSERT INTO messages (conversation_id, message_id, seq, sender_id, body, type)
                    SELECT id, mid, 1, 'ann', '', type FROM unnest(
                        \(rows.map(\.id))::text[], \(rows.map(\.mid))::bigint[], \(rows.map(\.type))::text[]
                    ) AS rows(id, mid, type) ON CONFLICT DO NOTHING
                    """
                )
            }
            func head(_ id: String) async throws -> [Int64] {
                try await pool.query("SELECT last_mid FROM conversation_heads WHERE conversation_id = \(id)")
                    .decode(Int64.self)
            }
            try await insert([("g:a", 5, "conversation")])
            #expect(try await head("g:a") == [], "no message yet")
            try await insert([("g:a", 6, nil), ("g:a", 8, nil), ("g:b", 7, nil), ("g:a", 9, "member_added")])
            #expect(try await head("g:a") == [8])
            #expect(try await head("g:b") == [7])
            try await insert([("g:a", 3, nil), ("g:b", 12, nil), ("g:b", 7, nil)])
            #expect(try await head("g:a") == [8])
            #expect(try await head("g:b") == [12])
        }
    }

    @Test func `numbers that were left out are nobody's unread, however often they were`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(2)
            let talk = ConversationID.direct(people[0].id, people[1].id)
            try await gateway.commit("1", from: people[0].id, to: talk)
            // Jumps over 2–11 and 12–21, one of them noted twice.
            for (epoch, after, to) in [("a", 1, 11), ("b", 11, 21), ("c", 5, 15)] {
                _ = try await stack.pool.query(
                    """
                    INSERT INTO conversation_jumps (conversation_id, after_seq, to_seq, epoch)
                    VALUES (\(talk.description), \(after), \(to), \(epoch))
                    """
                )
            }
            _ = try await gateway.redis.send("HSET", Keys.conversation(talk), "seq", "21")
            try await gateway.commit("22", from: people[0].id, to: talk)
            func unread(read seq: Int) async throws -> Int64 {
                _ = try await gateway.redis.send(
                    "HSET",
                    Keys.conversation(talk),
                    "read:\(people[1].id)",
                    String(seq)
                )
                let listed = try #require(try await gateway.list(as: people[1]).conversations.first)
                #expect(listed.readSeq == seq)
                return listed.unread
            }
            for (seq, expected) in [(0, 2), (1, 1), (7, 1), (21, 1), (22, 0)] {
                #expect(try await unread(read: seq) == Int64(expected), "read up to \(seq)")
            }
        }
    }

    @Test func `positions of all`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(3)
            let group = try await stack.group(people)
            let talk = ConversationID.direct(people[0].id, people[1].id)
            for conversation in [group, talk] {
                try await gateway.commit("hello", from: people[0].id, to: conversation)
                _ = try await gateway.redis.send(
                    "HSET",
                    Keys.conversation(conversation),
                    "delivered:\(people[1].id)",
                    "1"
                )
            }
            func told(_ answer: ConversationAnswer) -> [UserID: [Int64]] {
                Dictionary(uniqueKeysWithValues: answer.positions.map { ($0.user, [$0.read, $0.delivered]) })
            }
            let listed = try await gateway.list(as: people[0]).conversations
            #expect(listed.map(\.id) == [talk.description, group.description])
            #expect(told(listed[0]) == [people[0].id: [1, 1], people[1].id: [0, 1]])
            let all = [people[0].id: [1, 1], people[1].id: [0, 1], people[2].id: [0, 0]] as [UserID: [Int64]]
            #expect(told(listed[1]) == all)
            let one = try await gateway.get(group, as: people[2]).decode(ConversationAnswer.self)
            #expect(told(one) == all)
            // Who comes later was not there for what stood before.
            let late = try await stack.user()
            #expect(try await gateway.put(late.id, in: group, as: people[0]).status == 200)
            try await stack.archive()
            let joined = try await gateway.get(group, as: people[2]).decode(ConversationAnswer.self).positions
            #expect(joined.map(\.joined) == [0, 0, 0, 1])
        }
    }

    @Test func `many lanes are read to their ends, unless too much waits in them`() async throws {
        try await MessagesStack.with { stack in
            let log = CommitLog(redis: stack.client)
            let talks = [Talk(), Talk()]
            for talk in talks {
                try await stack.seed(talk.conversation)
                for number in 0..<60 { try await stack.commit(talk, body: "\(number)") }
            }
            let all = Dictionary(uniqueKeysWithValues: Lane.all.map { ($0, UInt64(0)) })
            // Of so many lanes one question takes few entries each.
            let (one, both) = (Set([talks[0].conversation]), Set(talks.map(\.conversation)))
            let found = try await log.tails(after: all, of: one)
            #expect(found.map(\.seq) == Array(1...60))
            #expect(try await log.tails(after: all, of: both).count == 120)
            let some = try await log.tails(after: [talks[0].lane: found[39].mid.rawValue], of: one)
            #expect(some.map(\.seq) == Array(41...60))
            #expect(try await log.tails(after: [:], of: both).isEmpty)

            let flood = "for i = 1, 60000 do redis.call('XADD', KEYS[1], '*', 'e', '{}') end"
            _ = try await stack.run("EVAL", flood, "1", Keys.lane(talks[1].lane))
            await #expect(throws: HistoryError.backlogTooLong) { _ = try await log.tails(after: all, of: both) }
        }
    }
}
