import HTTPTypes
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// Who may write: what a block and the setting refuse, and that nothing slips past a change.
@Suite(.serialized) struct FriendsBlockTests {
    private func isRefused(_ answer: TestAPI.Answer) -> Bool { answer.problem == .forbidden }

    @Test func `a blocked one gets what a stranger gets, and neither opens a conversation`() async throws {
        try await FriendsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.people(4)
            let (ann, bob, eve, shy) = (people[0], people[1], people[2], people[3])
            #expect(try await one.send("hello", from: bob, to: ann).status == 201)
            try await one.set(.friends, of: shy)
            #expect(try await one.block(bob, as: ann).status == 204)
            #expect(try await one.block(eve, as: ann).status == 204)

            let refusals = [
                try await two.send("open", from: bob, to: ann), try await one.send("open", from: bob, to: ann),
                try await two.send("unopened", from: eve, to: ann), try await two.send("shy", from: bob, to: shy),
                try await one.send("mine", from: ann, to: bob), try await one.send("mine", from: ann, to: eve),
            ]
            for refusal in refusals {
                #expect(isRefused(refusal))
                #expect(refusal.body == refusals[0].body && refusal.headers == refusals[0].headers)
            }
            #expect(try await stack.bodies(ann) == ["hello"])
            let opened: [String] = try await stack.pool.query("SELECT id FROM conversations").decode(String.self)
            #expect(opened == [ConversationID.direct(ann.id, bob.id).description])

            // The other direction is shy's own to decide.
            #expect(try await two.send("psst", from: shy, to: eve).status == 201)
            #expect(isRefused(try await two.send("answer", from: eve, to: shy)))

            // History stays, and what was sent before is answered as it was.
            let history = try await two.call(
                .get,
                "/v1/conversations/\(ConversationID.direct(ann.id, bob.id))/messages",
                as: bob
            )
            #expect(try history.decode(HistoryAnswer.self).messages.map(\.told) == ["m hello"])

            for _ in 0..<2 { #expect(try await two.unblock(bob, as: ann).status == 204) }
            #expect(try await one.send("again", from: bob, to: ann).status == 201)
            #expect(try await two.send("yes", from: ann, to: bob).status == 201)
        }
    }

    @Test func `a repeat of what was committed before the block is answered; changes are not made`() async throws {
        try await FriendsStack.with { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.people(2)
            let (ann, bob) = (people[0], people[1])
            let cid = ClientMessageID.random(unixMilliseconds: WallClock.milliseconds())
            let sent = try await gateway.send("hello", from: bob, to: ann, cid: cid)
            let mid = try sent.decode(SentAnswer.self).mid
            #expect(try await gateway.block(bob, as: ann).status == 204)
            let again = try await stack.gateways[1].send("hello", from: bob, to: ann, cid: cid)
            #expect(again.status == 200)
            #expect(try again.decode(SentAnswer.self).mid == mid)
            let path = "/v1/conversations/\(ConversationID.direct(ann.id, bob.id))/messages/\(mid)"
            for method in [.patch, .delete] as [HTTPRequest.Method] {
                let key = ClientMessageID.random(unixMilliseconds: WallClock.milliseconds()).description
                let body = method == .patch ? #"{"body":"worse"}"# : ""
                #expect(isRefused(try await gateway.call(method, path, as: bob, body, key: key)))
            }
            #expect(try await stack.bodies(ann) == ["hello"])
        }
    }

    @Test func `after the answer to a block nothing of the blocked one is committed`() async throws {
        try await FriendsStack.with { stack in
            let people = try await stack.people(2)
            let (ann, bob) = (people[0], people[1])
            let conversation = ConversationID.direct(ann.id, bob.id)
            for round in 0..<5 {
                #expect(try await stack.gateways[0].send("\(round)", from: bob, to: ann).status == 201)
                try await withThrowingTaskGroup(of: Void.self) { tasks in
                    for number in 0..<40 {
                        tasks.addTask {
                            let answer = try await stack.gateways[number % 2].send("\(number)", from: bob, to: ann)
                            #expect(answer.status == 201 || isRefused(answer), "\(answer.text)")
                        }
                    }
                    tasks.addTask {
                        #expect(try await stack.gateways[1].block(bob, as: ann).status == 204)
                        let seq = try await stack.gateways[0].field("seq", of: conversation)
                        for number in 0..<10 {
                            #expect(isRefused(try await stack.gateways[number % 2].send("late", from: bob, to: ann)))
                        }
                        #expect(try await stack.gateways[0].field("seq", of: conversation) == seq)
                    }
                    try await tasks.waitForAll()
                }
                #expect(try await stack.gateways[0].unblock(bob, as: ann).status == 204)
            }
            #expect(!(try await stack.bodies(ann)).contains("late"))
        }
    }

    @Test func `rights that were read before a change do not undo it`() async throws {
        try await FriendsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.people(2)
            let (ann, bob) = (people[0], people[1])
            let conversation = ConversationID.direct(ann.id, bob.id)
            func read() async throws -> WriteRights {
                try #require(try await stack.store.rights(in: [conversation]).first)
            }
            #expect(try await one.send("1", from: bob, to: ann).status == 201)
            let before = try await read()
            #expect(try await one.block(bob, as: ann).status == 204)
            let blocked = try await read()
            #expect(blocked.version > before.version)

            // A gateway that prepares the conversation has read before the block, and comes after it: where Redis knows the
            // conversation, and where it is to be seeded.
            for forgets in ["nothing", "mv"] {
                _ = try await two.services.redis.send("HDEL", Keys.conversation(conversation), forgets)
                _ = try await two.services.redis.send(before.command)
                #expect(try await one.field("closed", of: conversation) == "*")
                #expect(isRefused(try await two.send("2", from: bob, to: ann)))
            }
            #expect(try await one.unblock(bob, as: ann).status == 204)
            _ = try await two.services.redis.send(blocked.command)
            #expect(try await one.field("closed", of: conversation) == nil)
            #expect(try await two.send("3", from: bob, to: ann).status == 201)
        }
    }

    @Test func `a block of a conversation that Redis does not know is there when it gets to know it`() async throws {
        try await FriendsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.people(2)
            let (ann, bob) = (people[0], people[1])
            let conversation = ConversationID.direct(ann.id, bob.id)
            #expect(try await one.send("1", from: bob, to: ann).status == 201)
            let before = try #require(try await stack.store.rights(in: [conversation]).first)
            _ = try await one.services.redis.send("DEL", Keys.conversation(conversation))
            #expect(try await one.block(bob, as: ann).status == 204)
            // The rest of a preparation that read before the block.
            _ = try await two.services.redis.send(before.command)
            let seed = RedisFunctions.call(
                "seed",
                keys: [Keys.conversation(conversation), Keys.epoch],
                [two.services.epochs.epoch, "1", "1", "0"]
            )
            #expect(try await two.services.redis.send(seed).string == "seeded 1")
            #expect(isRefused(try await two.send("2", from: bob, to: ann)))
        }
    }

    @Test func `a block while the conversation is being opened is read by whoever opens it`() async throws {
        try await FriendsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.people(2)
            let (ann, bob) = (people[0], people[1])
            // Held up where the conversation is written: who may write there was read before.
            var sending: Task<TestAPI.Answer, any Error>?
            do {
                try await stack.pool.transaction { connection in
                    let id = ConversationID.direct(ann.id, bob.id).description
                    _ = try await connection.query(
                        "INSERT INTO conversations (id, kind, created_at) VALUES (\(id), 'direct', 0)"
                    )
                    let late = Task { try await two.send("late", from: bob, to: ann) }
                    let isHeldUp = try await eventually {
                        let rows = try await stack.pool.query(
                            """
                            SELECT count(*) FROM pg_stat_activity
                            WHERE wait_event_type = 'Lock' AND datname = current_database()
                            """
                        )
                        return try rows.decode(Int64.self) == [1]
                    }
                    let blocked = try await one.block(bob, as: ann)
                    #expect(isHeldUp && blocked.status == 204)
                    throw HeldUp(sending: late)
                }
            } catch let held as HeldUp {
                sending = held.sending
            }
            let answer = try #require(try await sending?.value)
            #expect(isRefused(answer))
            #expect(try await stack.bodies(ann) == [])
        }
    }

    @Test func `Redis lost everything`() async throws {
        try await FriendsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.people(3)
            let (ann, bob, shy) = (people[0], people[1], people[2])
            try await stack.befriend(ann, shy)
            try await one.set(.friends, of: shy)
            for person in [ann, shy] { #expect(try await one.send("1", from: person, to: bob).status == 201) }
            #expect(try await one.block(bob, as: ann).status == 204)
            try await stack.groups.archive()
            _ = try await one.services.redis.send("FLUSHALL")
            try await stack.groups.redis.kill9()
            try await stack.groups.redis.restart()
            // The first sends may still find the way back to be made.
            #expect(try await eventually { try await two.send("2", from: bob, to: ann).problem == .forbidden })
            #expect(try await eventually { try await one.send("2", from: ann, to: bob).problem == .forbidden })
            #expect(try await eventually { try await one.send("2", from: bob, to: shy).problem == .forbidden })
            #expect(try await eventually { try await one.send("2", from: ann, to: shy).status == 201 })
            #expect(try await stack.bodies(ann) == ["2"], "her own to shy")
        }
    }

    @Test func `a worker finishes what a dead gateway left`() async throws {
        try await FriendsStack.with { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.people(2)
            let (ann, bob) = (people[0], people[1])
            try await stack.befriend(ann, bob)
            #expect(try await gateway.send("1", from: bob, to: ann).status == 201)
            // Killed between PostgreSQL's commit and Redis.
            _ = try await stack.store.perform(.block, by: ann.id, toward: bob.id)
            #expect(try await stack.outstanding() == 3)
            try await stack.sweep()
            #expect(isRefused(try await gateway.send("2", from: bob, to: ann)))
            let removed = "friend_removed \(ann.id) \(bob.id)"
            for person in [ann, bob] { #expect(try await stack.told(person).last == removed) }

            // And before the row was forgotten: once more, which changes nothing.
            _ = try await stack.store.perform(.unblock, by: ann.id, toward: bob.id)
            try await gateway.relations.outbox.settle(ann.id, bob.id)
            _ = try await stack.pool.query(
                "INSERT INTO right_changes (subject, at) VALUES (\(ConversationID.direct(ann.id, bob.id).description), 0)"
            )
            try await stack.sweep()
            #expect(try await gateway.send("3", from: bob, to: ann).status == 201)
        }
    }

    @Test func `a repeated request finishes what the first one left`() async throws {
        try await FriendsStack.with { stack in
            let people = try await stack.people(2)
            let (ann, bob) = (people[0], people[1])
            #expect(try await stack.gateways[0].send("1", from: bob, to: ann).status == 201)
            _ = try await stack.store.perform(.block, by: ann.id, toward: bob.id)
            #expect(try await stack.gateways[1].block(bob, as: ann).status == 204)
            #expect(
                isRefused(try await stack.gateways[0].send("2", from: bob, to: ann)),
                "no answer before Redis has it"
            )
        }
    }

    @Test func `whoever takes messages from friends alone says so to all conversations`() async throws {
        try await FriendsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.people(2)
            let (shy, friend) = (people[0], people[1])
            try await stack.befriend(shy, friend)
            // More than two pages of strangers who have written before.
            _ = try await stack.pool.query(
                """
                WITH strangers AS (
                    INSERT INTO users (id, username, display_name, display_key, password_hash)
                    SELECT 's' || n, 'stranger-' || n, '', '', '' FROM generate_series(1, 450) AS n RETURNING id
                ), pairs AS (
                    SELECT id, 'd:' || least(id, \(shy.id.description)) || ':'
                        || greatest(id, \(shy.id.description)) AS conv
                    FROM strangers
                ), opened AS (
                    INSERT INTO conversations (id, kind, created_at) SELECT conv, 'direct', 0 FROM pairs
                )
                INSERT INTO conversation_members (conversation_id, user_id, joined_at)
                SELECT conv, unnest(ARRAY[id, \(shy.id.description)]), 0 FROM pairs
                """
            )
            #expect(try await one.send("1", from: friend, to: shy).status == 201)
            try await one.set(.friends, of: shy)
            let strangers = (1...450).compactMap { UserID("s\($0)") }
            for stranger in strangers {
                let closed = try await two.field("closed", of: .direct(stranger, shy.id))
                #expect(closed == stranger.description)
            }
            #expect(try await two.send("2", from: friend, to: shy).status == 201)
            #expect(try await two.unfriend(friend, as: shy).status == 204)
            #expect(isRefused(try await one.send("3", from: friend, to: shy)))
            #expect(try await one.send("4", from: shy, to: friend).status == 201)

            // As a dead gateway leaves it, in both directions.
            try await one.set(.friends, of: friend)
            #expect(isRefused(try await one.send("5", from: shy, to: friend)))
            _ = try await stack.pool.transaction { connection in
                try await RelationStore.set(.everyone, of: shy.id, on: connection)
                try await RelationStore.set(.everyone, of: friend.id, on: connection)
            }
            try await stack.sweep()
            for stranger in strangers { #expect(try await two.field("closed", of: .direct(stranger, shy.id)) == nil) }
            #expect(try await one.send("6", from: friend, to: shy).status == 201)
        }
    }

    @Test func `settings of both at once are both in force`() async throws {
        try await FriendsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.people(2)
            let (ann, bob) = (people[0], people[1])
            let conversation = ConversationID.direct(ann.id, bob.id)
            #expect(try await one.send("1", from: bob, to: ann).status == 201)
            for _ in 0..<10 {
                for (setting, closed) in [(MayWrite.friends, "*"), (.everyone, nil)] as [(MayWrite, String?)] {
                    try await withThrowingTaskGroup(of: Void.self) { tasks in
                        tasks.addTask { try await one.set(setting, of: ann) }
                        tasks.addTask { try await two.set(setting, of: bob) }
                        try await tasks.waitForAll()
                    }
                    #expect(try await one.field("closed", of: conversation) == closed)
                }
            }
        }
    }

    @Test func `nobody adds whom they may not write to`() async throws {
        try await FriendsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.people(4)
            let (ann, bob, shy, eve) = (people[0], people[1], people[2], people[3])
            try await one.set(.friends, of: shy)
            func create(_ owner: Person, _ members: [Person], key: String) async throws -> TestAPI.Answer {
                let list = members.map { "\"\($0.id)\"" }.joined(separator: ",")
                return try await two.call(
                    .post,
                    "/v1/conversations",
                    as: owner,
                    #"{"title":"Team","members":[\#(list)]}"#,
                    key: key
                )
            }
            let before = try await create(bob, [ann], key: "before")
            #expect(before.status == 201)
            #expect(try await one.block(bob, as: ann).status == 204)
            let refusal = try await create(bob, [ann, eve], key: "blocked")
            #expect(isRefused(refusal) && refusal.text.contains(ann.id.description))
            let stranger = try await create(bob, [shy, eve], key: "stranger")
            #expect(isRefused(stranger))
            #expect(
                stranger.text.replacing(shy.id.description, with: "")
                    == refusal.text.replacing(ann.id.description, with: "")
            )
            #expect(isRefused(try await create(ann, [bob], key: "mine")))
            let group = try #require(
                ConversationID(try await create(bob, [eve], key: "eve").decode(ConversationAnswer.self).id)
            )
            let members = "/v1/conversations/\(group)/members"
            #expect(isRefused(try await one.call(.put, "\(members)/\(ann.id)", as: bob)))
            #expect(isRefused(try await one.call(.put, "\(members)/\(shy.id)", as: bob)))
            let count: [Int64] = try await stack.pool.query("SELECT count(*) FROM conversations WHERE kind = 'group'")
                .decode(Int64.self)
            #expect(count == [2], "nothing is left of what was refused")

            // A creation from before is repeated, and the group they are both in goes on.
            #expect(try await create(bob, [ann], key: "before").status == 200)
            try await stack.befriend(bob, shy)
            #expect(try await one.call(.put, "\(members)/\(shy.id)", as: bob).status == 200)
        }
    }

    @Test func `who may not write is not seen reading`() async throws {
        try await FriendsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.people(2)
            let (ann, bob) = (people[0], people[1])
            let path = "/v1/conversations/\(ConversationID.direct(ann.id, bob.id))"
            for body in ["1", "2"] { #expect(try await one.send(body, from: ann, to: bob).status == 201) }
            #expect(try await one.call(.post, "\(path)/read", as: bob, #"{"seq":1}"#).status == 204)
            func receipts(_ person: Person) async throws -> Int {
                let events = try await stack.groups.gateways[0].queue(person.id)
                return events.filter { $0.type == .receipt }.count
            }
            func seen(_ person: Person, by other: Person) async throws -> Int64? {
                struct Shown: Decodable {
                    struct Position: Decodable {
                        let user: UserID
                        let read: Int64
                    }
                    let positions: [Position]
                }
                return try await two.call(.get, path, as: other).decode(Shown.self).positions
                    .first { $0.user == person.id }?.read
            }
            #expect(try await receipts(ann) == 1)
            #expect(try await seen(bob, by: ann) == 1)
            #expect(try await one.block(bob, as: ann).status == 204)
            #expect(try await two.call(.post, "\(path)/read", as: bob, #"{"seq":2}"#).status == 204)
            #expect(try await receipts(ann) == 1)
            #expect(try await receipts(bob) == 2, "his own devices hear of it")
            #expect(try await seen(bob, by: ann) == nil)
            #expect(try await seen(bob, by: bob) == 2)
        }
    }
}

/// Ends a transaction without a trace, and hands out what waited for that.
private struct HeldUp: Error {
    let sending: Task<TestAPI.Answer, any Error>
}

private struct SentAnswer: Decodable {
    let mid: String
}
