import HTTPTypes
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// Friends over HTTP: what the routes answer, what both are told, and what comes of many requests at once.
@Suite(.serialized) struct FriendsRouteTests {
    private struct State: Decodable {
        let state: String
    }

    private func state(_ answer: TestAPI.Answer) throws -> String { try answer.decode(State.self).state }

    private func ids(_ people: Person...) -> [String] { people.map(\.id.description) }

    @Test func `from the request to the end of a friendship`() async throws {
        try await FriendsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.people(2)
            let (ann, bob) = (people[0], people[1])
            let first = try await one.ask(bob, as: ann)
            #expect(first.status == 201)
            #expect(try state(first) == "outgoing")
            let again = try await two.ask(bob, as: ann)
            #expect(again.status == 200)
            #expect(try state(again) == "outgoing")
            #expect(try await one.lists(ann).ids == [[], [], ids(bob)])
            #expect(try await two.lists(bob).ids == [[], ids(ann), []])

            for _ in 0..<2 {
                let accepted = try await two.accept(ann, as: bob)
                #expect(accepted.status == 200)
                #expect(try state(accepted) == "friends")
            }
            #expect(try state(try await one.ask(bob, as: ann)) == "friends")
            #expect(try await one.lists(ann).ids == [ids(bob), [], []])
            #expect(try await two.lists(bob).ids == [ids(ann), [], []])

            for _ in 0..<2 { #expect(try await one.unfriend(bob, as: ann).status == 204) }
            #expect(try await one.lists(ann).ids == [[], [], []])
            // Each event once, in one order, in both queues.
            let told = [
                "friend_request \(ann.id) \(bob.id)", "friend_accepted \(bob.id) \(ann.id)",
                "friend_removed \(ann.id) \(bob.id)",
            ]
            for person in people { #expect(try await stack.told(person) == told) }
            #expect(try await stack.outstanding() == 0)
        }
    }

    @Test func `declining and withdrawing`() async throws {
        try await FriendsStack.with { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.people(2)
            let (ann, bob) = (people[0], people[1])
            for (ends, other) in [(bob, ann), (ann, bob)] {
                #expect(try await gateway.ask(bob, as: ann).status == 201)
                for _ in 0..<2 { #expect(try await gateway.endRequest(other, as: ends).status == 204) }
                #expect(try await gateway.accept(ann, as: bob).problem == .notFound)
                for person in people {
                    #expect(try await gateway.lists(person).ids == [[], [], []])
                    #expect(try await stack.told(person).last == "friend_removed \(ends.id) \(other.id)")
                }
            }
            #expect(try await stack.told(ann).count == 4)
        }
    }

    @Test func `each error has its code`() async throws {
        try await FriendsStack.with { stack in
            let gateway = stack.gateways[0]
            let ann = try await stack.people(1)[0]
            let requests = "/v1/friends/requests"
            let nobody = UserID.random()
            for (method, path) in [
                (.post, "\(requests)/*/accept"), (.delete, "\(requests)/*"), (.delete, "/v1/friends/*"),
                (.put, "/v1/blocks/*"), (.delete, "/v1/blocks/*"),
            ] as [(HTTPRequest.Method, String)] {
                for (user, code) in [
                    (ann.id.description, ErrorCode.invalid), (nobody.description, .notFound), ("Not.An.Id", .notFound),
                ] {
                    let path = path.replacing("*", with: user)
                    #expect(try await gateway.call(method, path, as: ann).problem == code, "\(method) \(path)")
                }
            }
            for (body, code) in [
                (#"{"user":"\#(ann.id)"}"#, ErrorCode.invalid), (#"{"user":"\#(nobody)"}"#, .notFound),
                (#"{"user":"No"}"#, .invalid), ("{}", .invalid), ("[", .badFrame),
            ] {
                #expect(try await gateway.call(.post, requests, as: ann, body).problem == code, "\(body)")
            }
            let stranger = Person(id: nobody, token: "no")
            #expect(try await gateway.call(.get, "/v1/friends", as: stranger).problem == .unauthorized)
        }
    }

    @Test func `a block ends everything and is not seen`() async throws {
        try await FriendsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.people(3)
            let (ann, bob, eve) = (people[0], people[1], people[2])
            try await stack.befriend(ann, bob)
            #expect(try await one.ask(ann, as: eve).status == 201)
            for person in [bob, eve] { #expect(try await one.block(person, as: ann).status == 204) }
            for person in people { #expect(try await two.lists(person).ids == [[], [], []]) }
            #expect(try await stack.told(bob).last == "friend_removed \(ann.id) \(bob.id)")
            #expect(try await stack.told(eve).last == "friend_removed \(ann.id) \(eve.id)")

            // What they do from here on looks to them as if nobody answered.
            let before = try await stack.told(ann)
            #expect(try await two.ask(ann, as: bob).status == 201)
            #expect(try await two.ask(ann, as: bob).status == 200)
            #expect(try await two.lists(bob).ids == [[], [], ids(ann)])
            #expect(try await stack.told(bob).last == "friend_request \(bob.id) \(ann.id)")
            #expect(try await one.lists(ann).ids == [[], [], []])
            #expect(try await one.accept(bob, as: ann).problem == .notFound)
            #expect(try await one.endRequest(bob, as: ann).status == 204)
            #expect(try await one.ask(bob, as: ann).problem == .forbidden)
            #expect(try await two.lists(bob).ids == [[], [], ids(ann)])
            #expect(try await stack.told(ann) == before)

            let listed = try await one.call(.get, "/v1/blocks?limit=1", as: ann).decode(BlocksAnswer.self)
            let rest = try await one.call(.get, "/v1/blocks?limit=1&cursor=\(listed.next ?? "")", as: ann)
                .decode(BlocksAnswer.self)
            #expect(Set((listed.users + rest.users).map(\.id)) == Set(ids(bob, eve)) && rest.next == nil)

            #expect(try await one.unblock(bob, as: ann).status == 204)
            #expect(try await one.lists(ann).ids == [[], ids(bob), []])
            #expect(try await stack.told(ann).last == "friend_request \(bob.id) \(ann.id)")
            #expect(try await one.accept(bob, as: ann).status == 200)
        }
    }

    private struct BlocksAnswer: Decodable {
        let users: [UserAnswer]
        let next: String?
    }

    @Test func `two who ask each other at once become friends, once`() async throws {
        try await FriendsStack.with { stack in
            for _ in 0..<5 {
                let people = try await stack.people(2)
                let (ann, bob) = (people[0], people[1])
                try await withThrowingTaskGroup(of: Void.self) { tasks in
                    for number in 0..<8 {
                        let (me, other) = number < 4 ? (ann, bob) : (bob, ann)
                        tasks.addTask {
                            let answer = try await stack.gateways[number % 2].ask(other, as: me)
                            #expect([200, 201].contains(answer.status), "\(answer.text)")
                        }
                    }
                    try await tasks.waitForAll()
                }
                #expect(try await stack.gateways[0].lists(ann).ids == [ids(bob), [], []])
                let told = try await stack.told(ann)
                #expect(told.map { $0.prefix { $0 != " " } } == ["friend_request", "friend_accepted"])
                #expect(try await stack.told(bob) == told)
            }
        }
    }

    @Test func `an acceptance and a block at once end in a block`() async throws {
        try await FriendsStack.with { stack in
            for round in 0..<8 {
                let people = try await stack.people(2)
                let (ann, bob) = (people[0], people[1])
                #expect(try await stack.gateways[0].ask(ann, as: bob).status == 201)
                // Either of the two may block.
                let (blocker, blocked) = round % 2 == 0 ? (ann, bob) : (bob, ann)
                try await withThrowingTaskGroup(of: Void.self) { tasks in
                    tasks.addTask {
                        let answer = try await stack.gateways[0].accept(bob, as: ann)
                        #expect(answer.status == 200 || answer.problem == .notFound, "\(answer.text)")
                    }
                    tasks.addTask {
                        let answer = try await stack.gateways[1].block(blocked, as: blocker)
                        #expect(answer.status == 204)
                    }
                    try await tasks.waitForAll()
                }
                for person in people {
                    #expect(try await stack.gateways[0].lists(person).ids == [[], [], []])
                    #expect(try await stack.told(person).last == "friend_removed \(blocker.id) \(blocked.id)")
                }
                #expect(try await stack.gateways[0].send("no", from: bob, to: ann).problem == .forbidden)
            }
        }
    }

    @Test func `nobody has more friends than one may have`() async throws {
        try await FriendsStack.with(FriendConfiguration(friendLimit: 2, requestLimit: 3)) { stack in
            let people = try await stack.people(8)
            let (ann, others) = (people[0], people[1...])
            for other in others { #expect(try await stack.gateways[0].ask(ann, as: other).status == 201) }
            let answers = try await withThrowingTaskGroup(of: TestAPI.Answer.self) { tasks in
                for (index, other) in others.enumerated() {
                    tasks.addTask { try await stack.gateways[index % 2].accept(other, as: ann) }
                }
                return try await tasks.reduce(into: []) { $0.append($1) }
            }
            #expect(answers.filter { $0.status == 200 }.count == 2)
            #expect(answers.filter { $0.problem == .tooLarge }.count == 5)
            let lists = try await stack.gateways[0].lists(ann)
            #expect(
                lists.friends.count == 2 && lists.incoming.count == 2,
                "five wait; as many are listed as may be friends"
            )

            // It counts for both sides, and for those who ask back.
            let waiting = try #require(
                others.first { other in !lists.friends.contains { $0.id == other.id.description } }
            )
            #expect(try await stack.gateways[1].ask(waiting, as: ann).problem == .tooLarge)
            #expect(
                try await stack.gateways[1].unfriend(
                    try #require(others.first { other in lists.friends.contains { $0.id == other.id.description } }),
                    as: ann
                ).status == 204
            )
            #expect(try await stack.gateways[1].ask(waiting, as: ann).status == 200)

            let fresh = try await stack.people(5)
            for other in fresh[1...3] { #expect(try await stack.gateways[0].ask(other, as: fresh[0]).status == 201) }
            #expect(try await stack.gateways[0].ask(fresh[4], as: fresh[0]).problem == .tooLarge)
            #expect(try await stack.gateways[0].endRequest(fresh[1], as: fresh[0]).status == 204)
            #expect(try await stack.gateways[0].ask(fresh[4], as: fresh[0]).status == 201)
        }
    }

    @Test func `what dead gateways left comes in its order, and once`() async throws {
        try await FriendsStack.with { stack in
            let people = try await stack.people(3)
            let (ann, bob, eve) = (people[0], people[1], people[2])
            _ = try await stack.store.perform(.ask, by: ann.id, toward: bob.id)
            _ = try await stack.store.perform(.accept, by: bob.id, toward: ann.id)
            #expect(try await stack.told(ann) == [])
            // Whoever comes next brings it along.
            #expect(try await stack.gateways[0].ask(ann, as: eve).status == 201)
            let both = ["friend_request \(ann.id) \(bob.id)", "friend_accepted \(bob.id) \(ann.id)"]
            #expect(try await stack.told(ann) == both + ["friend_request \(eve.id) \(ann.id)"])
            #expect(try await stack.told(bob) == [])
            try await stack.sweep()
            #expect(try await stack.told(bob) == both)

            // Redis has the event, and the gateway dies before the row goes.
            _ = try await stack.pool.query(
                """
                INSERT INTO relation_events (id, recipient_id, type, from_id, user_id, at) OVERRIDING SYSTEM VALUE
                SELECT 1, \(bob.id.description), 'friend_request', \(ann.id.description), \(bob.id.description), 0
                """
            )
            try await stack.sweep()
            #expect(try await stack.told(bob) == both)
        }
    }

    @Test func `all who bring events at once bring each once`() async throws {
        try await FriendsStack.with { stack in
            let people = try await stack.people(21)
            let (star, fans) = (people[0], people[1...])
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for (index, fan) in fans.enumerated() {
                    tasks.addTask {
                        let asked = try await stack.gateways[index % 2].ask(star, as: fan)
                        let accepted = try await stack.gateways[index % 2].accept(fan, as: star)
                        #expect([asked.status, accepted.status] == [201, 200])
                    }
                }
                for _ in 0..<4 { tasks.addTask { try await stack.sweeper.sweep() } }
                try await tasks.waitForAll()
            }
            let told = try await stack.told(star)
            #expect(told.count == 40 && Set(told).count == 40)
            for fan in fans {
                let mine = told.filter { $0.contains(fan.id.description) }
                #expect(mine == ["friend_request \(fan.id) \(star.id)", "friend_accepted \(star.id) \(fan.id)"])
                #expect(try await stack.told(fan) == mine)
            }
        }
    }

    @Test func `events of a full queue wait`() async throws {
        try await FriendsStack.with { stack in
            let people = try await stack.people(2)
            let (ann, bob) = (people[0], people[1])
            // A queue that refuses.
            _ = try await stack.gateways[0].services.redis.send("SET", Keys.queue(bob.id), "in the way")
            #expect(try await stack.gateways[0].ask(bob, as: ann).problem == .unavailable)
            #expect(try await stack.told(ann) == ["friend_request \(ann.id) \(bob.id)"])
            #expect(try await stack.outstanding() == 1)
            _ = try await stack.gateways[0].services.redis.send("DEL", Keys.queue(bob.id))
            try await stack.sweep()
            #expect(try await stack.told(bob) == ["friend_request \(ann.id) \(bob.id)"])
        }
    }

    @Test func `Redis lost the queues`() async throws {
        try await FriendsStack.with { stack in
            let people = try await stack.people(2)
            let (ann, bob) = (people[0], people[1])
            try await stack.befriend(ann, bob)
            _ = try await stack.store.perform(.unfriend, by: ann.id, toward: bob.id)
            _ = try await stack.gateways[0].services.redis.send("FLUSHALL")
            try await stack.groups.redis.kill9()
            try await stack.groups.redis.restart()
            #expect(try await eventually { try await stack.gateways[0].unfriend(bob, as: ann).status == 204 })
            // Friends of before are read over HTTP after the resync that the new epoch asks for.
            for person in people { #expect(try await stack.told(person) == ["friend_removed \(ann.id) \(bob.id)"]) }
            #expect(try await stack.gateways[1].lists(bob).ids == [[], [], []])
        }
    }

    @Test func `whoever is about to be gone leaves no friend and no request`() async throws {
        try await FriendsStack.with { stack in
            let people = try await stack.people(7)
            let (ann, friend, asked, asking, blocked, blocker) =
                (people[0], people[1], people[2], people[3], people[4], people[5])
            try await stack.befriend(ann, friend)
            try await stack.befriend(friend, people[6])
            #expect(try await stack.gateways[0].ask(asked, as: ann).status == 201)
            #expect(try await stack.gateways[0].ask(ann, as: asking).status == 201)
            #expect(try await stack.gateways[0].block(blocked, as: ann).status == 204)
            #expect(try await stack.gateways[0].block(ann, as: blocker).status == 204)
            #expect(try await stack.gateways[0].ask(blocker, as: ann).status == 201)
            for _ in 0..<2 { try await stack.gateways[0].relations.outbox.endAll(of: ann.id) }
            _ = try await stack.pool.query("DELETE FROM users WHERE id = \(ann.id.description)")
            for other in [friend, asked, asking] {
                #expect(try await stack.told(other).last == "friend_removed \(ann.id) \(other.id)")
            }
            for other in [blocked, blocker] { #expect(try await stack.told(other) == []) }
            #expect(try await stack.gateways[1].lists(friend).ids == [ids(people[6]), [], []])
            #expect(try await stack.gateways[1].lists(asked).ids == [[], [], []])
            let blocks: [Int64] = try await stack.pool.query("SELECT count(*) FROM blocks").decode(Int64.self)
            #expect(blocks == [0])
        }
    }
}
