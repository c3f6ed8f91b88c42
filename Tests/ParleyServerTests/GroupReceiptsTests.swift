import NIOCore
import NIOPosix
import ParleyWire
import RedisClient
import Synchronization
import TestSupport
import Testing

@testable import ParleyServer

/// Receipts in groups: gathered, noted, and told to the other members.
@Suite(.serialized) struct GroupReceiptsTests {
    typealias Told = ServerFrame.Receipt

    /// What a gateway with all members' sockets hears, by member.
    private final class Ears: Sendable {
        private let subscriber: RedisSubscriber
        private let box: Box

        private final class Box: Sendable {
            let receipts = Mutex<[String: [[Told]]]>([:])
        }

        init(_ redis: RedisClient) {
            let box = Box()
            self.box = box
            subscriber = redis.subscriber(
                on: redis.connections[0].eventLoop,
                onMessage: { channel, payload in
                    guard case .receipts(let receipts) = UserNotice(payload) else { return }
                    box.receipts.withLock { $0[String(buffer: channel), default: []].append(receipts) }
                },
                onResubscribed: {}
            )
        }

        func listen(to people: [Person]) async {
            for person in people {
                await withCheckedContinuation { done in
                    subscriber.eventLoop.execute { [subscriber] in
                        subscriber.subscribe(Keys.channel(person.id)) { done.resume() }
                    }
                }
            }
        }

        func heard(_ person: Person) -> [[Told]] {
            box.receipts.withLock { $0[Keys.channel(person.id)] ?? [] }
        }

        func close() async { await subscriber.close() }
    }

    private func withEars(_ body: (GroupsStack, Ears) async throws -> Void) async throws {
        try await GroupsStack.with(.init(memberLimit: 500)) { stack in
            let ears = Ears(stack.gateways[0].redis)
            let outcome: Result<Void, any Error>
            do { outcome = .success(try await body(stack, ears)) } catch { outcome = .failure(error) }
            await ears.close()
            try outcome.get()
        }
    }

    private func tell(
        _ gateway: GroupsGateway,
        _ group: ConversationID,
        _ positions: [(Person, Int, hasRead: Bool)],
        epoch: String? = nil
    ) async throws -> String? {
        let call = RedisFunctions.call(
            "group_receipts",
            keys: [Keys.epoch, Keys.conversation(group), Keys.members(group)],
            [epoch ?? gateway.epochs.epoch, group.description]
                + positions.flatMap { [$0.0.id.description, "\($0.1)", $0.hasRead ? "1" : "0"] }
        )
        return try await gateway.redis.send(call).string
    }

    private func read(_ gateway: GroupsGateway, _ group: ConversationID, _ person: Person, _ seq: Int64) async throws
        -> RESPValue
    {
        try await gateway.redis.send(
            RedisFunctions.readGroup(group, person.id, seq, epoch: gateway.epochs.epoch, queueCap: 100)
        )
    }

    private func positions(_ gateway: GroupsGateway, _ group: ConversationID, as person: Person) async throws
        -> [UserID: [Int64]]
    {
        let shown = try await gateway.get(group, as: person).decode(ConversationAnswer.self)
        return Dictionary(uniqueKeysWithValues: shown.positions.map { ($0.user, [$0.read, $0.delivered]) })
    }

    @Test func `positions are noted once, and told to the others`() async throws {
        try await withEars { stack, ears in
            let gateway = stack.gateways[0]
            let people = try await stack.users(3)
            let stranger = try await stack.user()
            let group = try await stack.group(people)
            for number in 1...5 { try await gateway.commit("\(number)", from: people[0].id, to: group) }
            await ears.listen(to: people + [stranger])

            #expect(try await tell(gateway, group, [(people[1], 3, false)]) == "done")
            #expect(try await tell(gateway, group, [(people[1], 3, false)]) == "known")
            #expect(try await tell(gateway, group, [(people[1], 2, false), (stranger, 5, true)]) == "known")
            #expect(try await tell(gateway, group, [(people[1], 99, false)]) == "done", "no further than the last")
            _ = try await read(gateway, group, people[1], 4)
            #expect(try await tell(gateway, group, [(people[1], 4, true)]) == "done", "delivered further before")
            _ = try await read(gateway, group, people[2], 2)
            #expect(try await tell(gateway, group, [(people[1], 5, false), (people[2], 2, true)]) == "done")
            #expect(
                try await tell(gateway, group, [(people[2], 5, false)], epoch: "other")
                    == "epoch \(gateway.epochs.epoch)"
            )

            let expected = [
                Told(conv: group, user: people[1].id, read: 0, delivered: 3),
                Told(conv: group, user: people[1].id, read: 0, delivered: 5),
                Told(conv: group, user: people[1].id, read: 4, delivered: 5),
                Told(conv: group, user: people[2].id, read: 2, delivered: 2),
            ]
            #expect(try await eventually { ears.heard(people[0]).count == 4 })
            #expect(ears.heard(people[0]).flatMap { $0 } == expected)
            #expect(
                ears.heard(people[2]).flatMap { $0 } == Array(expected.dropLast()),
                "nothing of oneself alone"
            )
            #expect(ears.heard(people[1]).flatMap { $0 } == Array(expected.suffix(1)))
            #expect(ears.heard(stranger).isEmpty)
            #expect(
                try await positions(gateway, group, as: people[2]) == [
                    people[0].id: [5, 5], people[1].id: [4, 5], people[2].id: [2, 2],
                ]
            )
        }
    }

    @Test func `of many steps within a window the last is told`() async throws {
        try await withEars { stack, ears in
            let gateway = stack.gateways[0]
            let people = try await stack.users(20)
            let group = try await stack.group(people)
            for number in 1...10 { try await gateway.commit("\(number)", from: people[0].id, to: group) }
            await ears.listen(to: [people[0]])
            let receipts = GroupReceipts(redis: gateway.redis, epochs: gateway.epochs)
            let begin = ContinuousClock.now
            for seq in 1...10 {
                for person in people.dropFirst() {
                    receipts.delivered(Int64(seq), to: person.id, in: group)
                    receipts.read(try await read(gateway, group, person, Int64(seq)), by: person.id, in: group)
                }
            }
            let expected = Set(people.dropFirst().map { Told(conv: group, user: $0.id, read: 10, delivered: 10) })
            var last: Set<Told> = []
            #expect(
                try await eventually {
                    let told = ears.heard(people[0]).flatMap { $0 }
                    last = Set(Dictionary(told.map { ($0.user, $0) }) { $1 }.values)
                    return last == expected
                },
                "\(last)"
            )
            // Of 190 steps, by the windows that fit into the time that they took.
            let told = ears.heard(people[0]).count
            #expect(told <= Int((ContinuousClock.now - begin) / .milliseconds(800)) + 1)
            // What was not told when the process ends is told then.
            try await gateway.commit("11", from: people[0].id, to: group)
            receipts.delivered(11, to: people[1].id, in: group)
            await receipts.tell()
            #expect(try await positions(gateway, group, as: people[0])[people[1].id] == [10, 11])
        }
    }

    @Test func `in a big group all is noted, and told to those who wrote last`() async throws {
        try await withEars { stack, ears in
            let gateway = stack.gateways[0]
            let people = try await stack.users(40)
            let group = try await stack.group(people)
            // The first two of these are not among the last sixteen.
            for person in people.prefix(18) { try await gateway.commit("hello", from: person.id, to: group) }
            let (early, author, silent, mover) = (people[1], people[17], people[20], people[30])
            await ears.listen(to: [early, author, silent, mover])

            #expect(try await tell(gateway, group, [(mover, 17, false)]) == "done")
            _ = try await read(gateway, group, mover, 18)
            #expect(try await tell(gateway, group, [(mover, 18, true), (people[31], 5, false)]) == "done")
            let delivered = Told(conv: group, user: mover.id, read: 0, delivered: 17)
            let read = Told(conv: group, user: mover.id, read: 18, delivered: 18)
            let other = Told(conv: group, user: people[31].id, read: 0, delivered: 5)
            #expect(try await eventually { ears.heard(author) == [[delivered], [read, other]] })
            #expect(try await eventually { ears.heard(early) == [[read]] && ears.heard(silent) == [[read]] })
            #expect(ears.heard(mover).isEmpty)

            let shown = try await positions(gateway, group, as: silent)
            #expect(shown.count == 40 && shown[mover.id] == [18, 18] && shown[people[31].id] == [0, 5])
            let listed = try #require(try await gateway.list(as: silent).conversations.first)
            #expect(listed.positions.map(\.user) == [silent.id])
        }
    }

    @Test func `steps of hundreds are told in parts`() async throws {
        try await withEars { stack, ears in
            let gateway = stack.gateways[0]
            let people = try await stack.users(140)
            let group = try await stack.group(people)
            try await gateway.commit("hello", from: people[0].id, to: group)
            await ears.listen(to: [people[0], people[1]])
            let receipts = GroupReceipts(redis: gateway.redis, epochs: gateway.epochs)
            for person in people.dropFirst() {
                receipts.read(try await read(gateway, group, person, 1), by: person.id, in: group)
            }
            await receipts.tell()
            let all = Set(people.dropFirst().map { Told(conv: group, user: $0.id, read: 1, delivered: 1) })
            #expect(try await eventually { Set(ears.heard(people[0]).flatMap { $0 }) == all })
            #expect(ears.heard(people[1]).isEmpty, "too many for each to hear of each")
            let shown = try await positions(gateway, group, as: people[1])
            #expect(shown.count == 140 && shown.values.allSatisfy { $0 == [1, 1] })
        }
    }

    @Test func `a notice is read as it was written`() throws {
        let group = try #require(ConversationID.group("team"))
        let receipts = (1...6).map { Told(conv: group, user: .random(), read: $0, delivered: 2 * $0) }
        let notice = UserNotice.receipts(receipts)
        #expect(UserNotice(ByteBuffer(string: notice.payload)) == notice)
    }
}
