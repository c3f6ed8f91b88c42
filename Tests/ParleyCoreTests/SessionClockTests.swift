import ParleyCore
import ParleyWire
import Testing

@Suite struct HeartbeatTests {
    @Test func `two pings without a sign of life, then the end`() {
        var heartbeat = Heartbeat()
        #expect(heartbeat.turn() == .ping)
        #expect(heartbeat.turn() == .ping)
        #expect(heartbeat.turn() == .close)
    }

    @Test func `any sign of life starts over`() {
        var heartbeat = Heartbeat()
        for _ in 0..<10 {
            #expect(heartbeat.turn() == .ping)
            #expect(heartbeat.turn() == .ping)
            heartbeat.heard()
        }
    }
}

@Suite struct TimerWheelTests {
    @Test func `each element has one turn in each round`() {
        var wheel = TimerWheel<Int>(slotCount: 7)
        for element in 0..<70 { wheel.insert(element, slot: element % 7) }
        for _ in 0..<3 {
            var seen: [Int] = []
            for _ in 0..<7 { seen += wheel.advance() }
            #expect(seen.sorted() == Array(0..<70))
        }
    }

    @Test func `a removed element has no turn, its neighbours keep theirs`() {
        var wheel = TimerWheel<Int>(slotCount: 2)
        wheel.insert(1, slot: 1)
        wheel.insert(2, slot: 1)
        wheel.remove(1, slot: 1)
        wheel.remove(3, slot: 0)
        #expect(wheel.advance() == [2])
        #expect(wheel.advance() == [])
        #expect(wheel.slotCount == 2)
    }
}

@Suite struct AckStateTests {
    private let one: ConversationID
    private let other: ConversationID

    init() throws {
        one = try #require(ConversationID("d:ann:bob"))
        other = try #require(ConversationID("d:ann:cleo"))
    }

    @Test func `acks are passed on together, once`() {
        var acks = AckState(cursor: 5)
        #expect(!acks.isDirty)
        #expect(acks.take() == nil)
        acks.acknowledge(7, written: 9)
        acks.acknowledge(8, written: 9)
        #expect(acks.isDirty)
        #expect(acks.take()?.q == 8)
        #expect(acks.take() == nil)
    }

    @Test func `an ack never goes back, nor beyond what was written`() {
        var acks = AckState(cursor: 5)
        acks.acknowledge(1_000_000, written: 9)
        acks.acknowledge(3, written: 9)
        #expect(acks.take()?.q == 9)
    }

    @Test func `an ack delivers the last message of each conversation up to it`() {
        var acks = AckState(cursor: 0)
        acks.wrote(q: 1, conversation: one, seq: 11)
        acks.wrote(q: 2, conversation: other, seq: 21)
        acks.wrote(q: 3, conversation: one, seq: 12)
        acks.wrote(q: 4, conversation: one, seq: 13)
        acks.acknowledge(3, written: 4)
        let first = Dictionary(uniqueKeysWithValues: acks.take()?.delivered ?? [])
        #expect(first == [one: 12, other: 21])
        acks.acknowledge(4, written: 4)
        let second = Dictionary(uniqueKeysWithValues: acks.take()?.delivered ?? [])
        #expect(second == [one: 13])
    }

    @Test func `a client that never acks is remembered up to a bound, and its acks free room`() {
        var acks = AckState(cursor: 0)
        for q in 1...1000 as ClosedRange<Int64> { acks.wrote(q: q, conversation: one, seq: q) }
        acks.acknowledge(1000, written: 1000)
        #expect(acks.take()?.delivered.map(\.1) == [1000], "late, but as much")
        acks.wrote(q: 1001, conversation: one, seq: 1001)
        acks.acknowledge(1001, written: 1001)
        #expect(acks.take()?.delivered.map(\.1) == [1001])
    }
}
