import NIOCore
import NIOPosix
import ParleyCore
import ParleyWire
import RedisClient
import Synchronization
import TestSupport
import Testing

@testable import ParleyServer

/// Groups too big for one call: the commit delivers to some, the rest follows in chunks, in order.
@Suite(.serialized) struct GroupsFanOutTests {
    private let big = GroupConfiguration(memberLimit: 500)

    private func pending(_ group: ConversationID, _ gateway: GroupsGateway) async throws -> [Int64?] {
        let lane = Lane(of: group)
        return [
            try await gateway.redis.send("HGET", Keys.conversation(group), "pending").integer,
            try await gateway.redis.send("LLEN", Keys.chunks(group)).integer,
            try await gateway.redis.send("ZCARD", Keys.pending(lane)).integer,
        ]
    }

    /// Waits until everybody has been told.
    private func expectSettled(_ group: ConversationID, _ gateway: GroupsGateway) async throws {
        let isSettled = try await eventually { try await pending(group, gateway) == [0, 0, 0] }
        #expect(isSettled)
    }

    @Test func `no call delivers to more than 128, and the rest keeps the order`() async throws {
        try await GroupsStack.with(big) { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(300)
            let group = try await stack.group(people)
            try await expectSettled(group, gateway)
            let roster = try await gateway.groups.settle(group)
            let first = try await gateway.send("0", from: people[0].id, to: group, roster)
            let result = try #require(first.result)
            #expect(first == .done(result, pending: PendingDelivery("*")))
            #expect(try await pending(group, gateway) == [2, 2, 2])
            // Behind what is pending everything waits: the second of these too, and a change.
            for number in 1...2 { _ = try await gateway.send("\(number)", from: people[9].id, to: group, roster) }
            #expect(try await pending(group, gateway) == [8, 8, 8], "in chunks, not one by one")
            try await stack.gateways[1].groups.store.perform(
                .remove(people[299].id),
                by: people[0].id,
                in: group,
                limit: 500
            )
            let lengths = try await lengths(of: people, gateway)
            #expect(lengths.filter { $0 == 2 }.count == 128 && lengths.filter { $0 == 1 }.count == 172)

            // Everybody finishes at once: gateways, workers, and the change's own.
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for number in 0..<4 {
                    tasks.addTask { try await stack.gateways[number % 2].groups.fanOut.settleChunks(of: group) }
                    tasks.addTask { try await stack.gateways[number % 2].groups.settle(group) }
                }
                try await tasks.waitForAll()
            }
            try await expectSettled(group, gateway)
            let expected = ["= Team", "m 0", "m 1", "m 2", "- \(people[299].id)"]
            for person in people { #expect(try await gateway.told(person.id, group) == expected) }
            #expect(try await gateway.queue(people[9].id).map { $0.cid != nil } == [false, false, true, true, false])
            #expect(try await gateway.queue(people[0].id).map { $0.cid != nil } == [false, true, false, false, false])
        }
    }

    private func lengths(of people: [Person], _ gateway: GroupsGateway) async throws -> [Int64] {
        var lengths: [Int64] = []
        for person in people {
            lengths.append(try await gateway.redis.send("XLEN", Keys.queue(person.id)).integer ?? 0)
        }
        return lengths
    }

    @Test func `a worker finds the chunks of a dead gateway, and the lane is held for them`() async throws {
        try await GroupsStack.with(big) { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(140)
            let group = try await stack.group(people)
            try await expectSettled(group, gateway)
            let lane = Lane(of: group)
            _ = try await gateway.send("left", from: people[0].id, to: group, try await gateway.groups.settle(group))
            try await stack.archive()
            #expect(try await gateway.redis.send("XLEN", Keys.lane(lane)).integer == 1, "not trimmed past the chunks")
            let now = WallClock.milliseconds() + 60_000
            #expect(try await gateway.groups.fanOut.sweep(lane, olderThan: 3000, now: now) == 1)
            #expect(try await pending(group, gateway) == [0, 0, 0])
            for person in people { #expect(try await gateway.told(person.id, group) == ["= Team", "m left"]) }
        }
    }

    @Test func `one whose queue refuses holds nobody up, and misses nothing`() async throws {
        try await GroupsStack.with(big) { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(200)
            let group = try await stack.group(people)
            try await expectSettled(group, gateway)
            let roster = try await gateway.groups.settle(group)
            // One of those that the commit itself reaches, and one of a chunk.
            let broken = [roster.members[3], roster.members[150]]
            for user in broken {
                _ = try await gateway.redis.send("RENAME", Keys.queue(user), "aside:\(user)")
                _ = try await gateway.redis.send("SET", Keys.queue(user), "not a stream")
            }
            for number in 0..<3 { try await gateway.commit("\(number)", from: people[0].id, to: group) }
            let expected = ["= Team", "m 0", "m 1", "m 2"]
            for person in people where !broken.contains(person.id) {
                #expect(try await gateway.told(person.id, group) == expected)
            }
            #expect(try await pending(group, gateway)[0] == 6, "three messages of two users")
            for user in broken {
                // Somebody found nothing to deliver, and a mark came before they said so.
                let keys = [Keys.pending(Lane(of: group)), Keys.owed(group)]
                let arguments = [group.description, user.description]
                _ = try await gateway.redis.send(RedisFunctions.call("cleared", keys: keys, arguments))
                _ = try await gateway.redis.send("DEL", Keys.queue(user))
                _ = try await gateway.redis.send("RENAME", "aside:\(user)", Keys.queue(user))
            }
            // What comes before they are looked after waits behind what they are owed.
            try await gateway.commit("3", from: people[0].id, to: group)
            for user in broken { #expect(try await gateway.groups.fanOut.settle(group, user)) }
            try await gateway.commit("4", from: people[0].id, to: group)
            #expect(try await pending(group, gateway) == [0, 0, 0])
            for user in people.map(\.id) {
                #expect(try await gateway.told(user, group) == expected + ["m 3", "m 4"])
            }
        }
    }

    @Test func `a group that fits is told by the commit alone`() async throws {
        try await GroupsStack.with(big) { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(128)
            let group = try await stack.group(people)
            let roster = try await gateway.groups.settle(group)
            let answer = try await gateway.send("all", from: people[0].id, to: group, roster)
            let result = try #require(answer.result)
            #expect(answer == .done(result, pending: PendingDelivery()))
            for person in people { #expect(try await gateway.told(person.id, group) == ["= Team", "m all"]) }
        }
    }

    @Test func `many are woken together, the sender and few by name`() async throws {
        try await GroupsStack.with(big) { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(40)
            let group = try await stack.group(people)
            try await gateway.commit("before", from: people[0].id, to: group)
            let channels = [Keys.groupsChannel, Keys.channel(people[0].id), Keys.channel(people[1].id)]
            var loops = [await Listener(to: channels, gateway.redis)]
            try await gateway.commit("together", from: people[0].id, to: group)
            #expect(try await eventually { loops[0].heard.count == 2 })
            let places = try await places(of: people, gateway)
            #expect(loops[0].heard.map(\.channel) == [Keys.channel(people[0].id), Keys.groupsChannel])
            let own = try #require(PublishedEntry(loops[0].heard[0].payload))
            #expect(own.q == places[people[0].id] && String(buffer: own.event).contains("\"cid\""))
            let published = try #require(PublishedFanOut(loops[0].heard[1].payload))
            var told: [UserID: Int64] = [:]
            published.forEach { told[$0] = $1 }
            #expect(told == places.filter { $0.key != people[0].id })
            let entry = published.entry(at: 7)
            #expect(entry.q == 7 && entry.epoch == gateway.epochs.epoch)
            let event = String(buffer: entry.event)
            #expect(event.contains("together") && !event.contains("\"cid\""))
            #expect(PublishedFanOut(ByteBuffer(string: "e1 no,event")) == nil)

            // Too many loops for so few: each is woken for its own alone.
            for _ in 0..<9 { loops.append(await Listener(to: channels, gateway.redis)) }
            try await gateway.commit("by name", from: people[0].id, to: group)
            #expect(try await eventually { loops[0].heard.count == 4 })
            #expect(loops[0].heard.suffix(2).map(\.channel) == Array(channels.suffix(2)))
            for loop in loops { await loop.subscriber.close() }
        }
    }

    /// The heads of their queues.
    private func places(of people: [Person], _ gateway: GroupsGateway) async throws -> [UserID: Int64] {
        var places: [UserID: Int64] = [:]
        for person in people { places[person.id] = Int64(try await gateway.queue(person.id).count) }
        return places
    }

    @Test func `reading and typing are for members`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(3)
            let group = try await stack.group(Array(people[..<2]))
            for number in 0..<3 { try await gateway.commit("\(number)", from: people[0].id, to: group) }
            func read(_ person: Person, _ seq: Int) async throws -> String? {
                try await gateway.redis.send(
                    RedisFunctions.call(
                        "read_group",
                        keys: [Keys.epoch, Keys.conversation(group), Keys.members(group), Keys.queue(person.id)],
                        [gateway.epochs.epoch, group.description, person.id.description, "\(seq)", "100"]
                    )
                ).string
            }
            #expect(try await read(people[1], 2) == "done 2")
            #expect(try await read(people[1], 1) == "known", "never back")
            #expect(try await gateway.get(group, as: people[1]).decode(ConversationAnswer.self).unread == 1)
            #expect(try await read(people[1], 99) == "done 3", "no further than the last")
            #expect(try await gateway.get(group, as: people[1]).decode(ConversationAnswer.self).unread == 0)
            #expect(try await gateway.queue(people[1].id).suffix(2).map(\.read) == [2, 3], "for the other devices")
            #expect(try await read(people[2], 1) == "stranger")
            func typing(_ person: Person, most: Int) async throws -> String? {
                let arguments = [person.id.description, "!typing", "\(most)"]
                let call = RedisFunctions.call("typing_group", keys: [Keys.members(group)], arguments)
                return try await gateway.redis.send(call).string
            }
            #expect(try await typing(people[0], most: 1) == "done")
            #expect(try await typing(people[2], most: 1) == "stranger")
        }
    }
}

/// A subscription as an event loop of a gateway has one, and what it hears.
private struct Listener: Sendable {
    final class Log: Sendable {
        private let heard = Mutex<[(channel: String, payload: ByteBuffer)]>([])

        var all: [(channel: String, payload: ByteBuffer)] { heard.withLock { $0 } }

        func add(_ channel: ByteBuffer, _ payload: ByteBuffer) {
            heard.withLock { $0.append((String(buffer: channel), payload)) }
        }
    }

    let subscriber: RedisSubscriber
    private let log = Log()

    var heard: [(channel: String, payload: ByteBuffer)] { log.all }

    init(to channels: [String], _ redis: RedisClient) async {
        let (loop, log) = (redis.connections[0].eventLoop, log)
        let subscriber = redis.subscriber(on: loop, onMessage: { log.add($0, $1) }, onResubscribed: {})
        for channel in channels {
            await withCheckedContinuation { done in
                loop.execute { subscriber.subscribe(channel) { done.resume() } }
            }
        }
        self.subscriber = subscriber
    }
}
