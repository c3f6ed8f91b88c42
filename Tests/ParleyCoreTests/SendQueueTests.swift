import ParleyCore
import Testing

@Suite struct SendQueueTests {
    /// Actions as text: `i1` issues ticket 1, `p2` prepares ticket 2.
    private func text(_ actions: [SendQueue<Int>.Action]) -> [String] {
        actions.map {
            switch $0 {
            case .issue(_, let ticket): "i\(ticket)"
            case .prepare(_, let ticket): "p\(ticket)"
            }
        }
    }

    @Test func `sends are pipelined`() {
        var queue = SendQueue<Int>()
        #expect(text(queue.submit(10, isAlone: false)) == ["i1"])
        #expect(text(queue.submit(20, isAlone: false)) == ["i2"])
        #expect(queue.count == 2)
        #expect(text(queue.finished(2)).isEmpty)
        #expect(text(queue.finished(1)).isEmpty)
        #expect(queue.count == 0)
    }

    @Test func `a send that may be refused goes alone`() {
        var queue = SendQueue<Int>()
        _ = queue.submit(10, isAlone: false)
        #expect(text(queue.submit(20, isAlone: true)).isEmpty)
        #expect(text(queue.submit(30, isAlone: false)).isEmpty)
        #expect(text(queue.finished(1)) == ["i2"])
        #expect(text(queue.bounced(2, 21)) == ["p2"])
        #expect(text(queue.prepared(2, 22)) == ["i2"], "it may bounce again")
        #expect(text(queue.finished(2)) == ["i3"])
    }

    @Test func `what preparation completed is what is issued`() {
        var queue = SendQueue<Int>()
        _ = queue.submit(10, isAlone: true)
        _ = queue.bounced(1, 10)
        guard case .issue(let send, 1)? = queue.prepared(1, 11).first else {
            Issue.record("not issued")
            return
        }
        #expect(send == 11)
    }

    @Test func `a bounced send is prepared again and keeps its place`() {
        var queue = SendQueue<Int>()
        _ = queue.submit(10, isAlone: false)
        _ = queue.submit(20, isAlone: false)
        #expect(text(queue.bounced(1, 10)).isEmpty, "the second might commit before the first is there again")
        #expect(text(queue.submit(30, isAlone: false)).isEmpty)
        #expect(text(queue.bounced(2, 21)) == ["p1"])
        #expect(text(queue.prepared(1, 10)) == ["i1"])
        #expect(text(queue.finished(1)) == ["p2"])
        #expect(text(queue.prepared(2, 20)) == ["i2"])
        #expect(text(queue.finished(2)) == ["i3"])
    }

    @Test func `a bounced send is prepared with what Redis wants`() {
        var queue = SendQueue<Int>()
        _ = queue.submit(10, isAlone: false)
        guard case .prepare(let send, 1)? = queue.bounced(1, 11).first else {
            Issue.record("not prepared")
            return
        }
        #expect(send == 11)
    }

    @Test func `a send that fails while it is prepared frees the later ones`() {
        var queue = SendQueue<Int>()
        _ = queue.submit(10, isAlone: true)
        _ = queue.submit(20, isAlone: false)
        #expect(text(queue.bounced(1, 10)) == ["p1"])
        #expect(text(queue.finished(1)) == ["i2"])
    }

    @Test func `answers for a ticket that is gone are nothing`() {
        var queue = SendQueue<Int>()
        _ = queue.submit(10, isAlone: false)
        _ = queue.finished(1)
        #expect(text(queue.finished(1)).isEmpty)
        #expect(text(queue.bounced(1, 10)).isEmpty)
        #expect(text(queue.prepared(1, 10)).isEmpty)
    }

    /// A server that answers in order, and that forgets a conversation now and then: it refuses all of that
    /// conversation's sends until one of them is prepared. Whatever the timing, each conversation commits in order.
    @Test(arguments: 1...30 as ClosedRange<UInt64>) func `order is kept through refusals`(seed: UInt64) {
        var world = World(random: SplitMix64(state: seed))
        for _ in 0..<100_000 where world.committed.count < World.total { world.step() }
        #expect(world.committed.sorted() == Array(0..<World.total))
        #expect(world.queue.count == 0)
        for conversation in 0..<World.conversations {
            let own = world.committed.filter { $0 % World.conversations == conversation }
            #expect(own == own.sorted())
        }
    }

    private struct World {
        static let total = 300
        static let conversations = 3

        var random: SplitMix64
        var queue = SendQueue<Int>()
        var known: Set<Int> = []
        var submitted = 0
        var pipe: [(send: Int, ticket: UInt64)] = []
        var preparing: [(send: Int, ticket: UInt64)] = []
        var committed: [Int] = []

        mutating func step() {
            switch Int.random(in: 0..<4, using: &random) {
            case 0 where submitted < Self.total:
                run(queue.submit(submitted, isAlone: Int.random(in: 0..<5, using: &random) == 0))
                submitted += 1
            case 1 where !pipe.isEmpty:
                let (send, ticket) = pipe.removeFirst()
                if known.contains(send % Self.conversations) {
                    committed.append(send)
                    run(queue.finished(ticket))
                } else {
                    run(queue.bounced(ticket, send))
                }
            case 2 where !preparing.isEmpty:
                let (send, ticket) = preparing.removeFirst()
                known.insert(send % Self.conversations)
                run(queue.prepared(ticket, send))
            case 3 where pipe.isEmpty && Int.random(in: 0..<20, using: &random) == 0:
                known.remove(Int.random(in: 0..<Self.conversations, using: &random))
            default: break
            }
        }

        private mutating func run(_ actions: [SendQueue<Int>.Action]) {
            for action in actions {
                switch action {
                case .issue(let send, let ticket): pipe.append((send, ticket))
                case .prepare(let send, let ticket): preparing.append((send, ticket))
                }
            }
            #expect(preparing.count <= 1)
        }
    }
}
