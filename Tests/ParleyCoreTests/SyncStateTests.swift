import ParleyCore
import ParleyWire
import Testing

@Suite struct SyncStateTests {
    /// A session that is live at 10.
    private func live() -> SyncState { SyncState(cursor: 10, head: 10, announcesLive: false) }

    /// A session that reads its first page after 10.
    private func reading(head: Int64 = 10) -> SyncState { SyncState(cursor: 10, head: head, announcesLive: true) }

    @Test func `the next entry is written`() {
        var state = live()
        #expect(state.published(11, isWritable: true) == .write)
        #expect(state.published(12, isWritable: true) == .write)
        #expect(state.cursor == 12)
    }

    @Test func `an entry seen before is nothing`() {
        var state = live()
        #expect(state.published(10, isWritable: true) == .none)
        #expect(state.published(3, isWritable: false) == .none)
        #expect(state.phase == .live)
        #expect(state.cursor == 10)
    }

    @Test func `a gap sends to the stream, and what arrives meanwhile is read there`() {
        var state = live()
        #expect(state.published(13, isWritable: true) == .read)
        #expect(state.published(14, isWritable: true) == .none)
        #expect(state.pageRead(first: 11, last: 13, wasFull: false, isWritable: true) == .read)
        #expect(state.pageRead(first: 14, last: 14, wasFull: false, isWritable: true) == .none)
        #expect(state.phase == .live)
        #expect(state.published(15, isWritable: true) == .write)
    }

    @Test func `a full socket lags until it drains, then reads on`() {
        var state = live()
        #expect(state.published(11, isWritable: false) == .none)
        #expect(state.phase == .lagging)
        #expect(state.published(12, isWritable: true) == .none, "nothing may overtake what the stream keeps")
        #expect(state.resumed() == .read)
        #expect(state.pageRead(first: 11, last: 12, wasFull: false, isWritable: false) == .none)
        #expect(state.phase == .live)
        #expect(state.cursor == 12)
    }

    @Test func `pages are read until one is not full`() {
        var state = reading(head: 300)
        #expect(state.pageRead(first: 11, last: 138, wasFull: true, isWritable: true) == .read)
        #expect(state.pageRead(first: 139, last: 266, wasFull: true, isWritable: true) == .read)
        #expect(state.pageRead(first: 267, last: 300, wasFull: false, isWritable: true) == .announceLive)
        #expect(state.phase == .live)
    }

    @Test func `a full socket stops the pages`() {
        var state = reading(head: 300)
        #expect(state.pageRead(first: 11, last: 138, wasFull: true, isWritable: false) == .none)
        #expect(state.phase == .lagging)
        #expect(state.resumed() == .read)
        #expect(state.pageRead(first: 139, last: 300, wasFull: false, isWritable: true) == .announceLive)
    }

    @Test func `live is announced once`() {
        var state = reading()
        #expect(state.pageRead(first: nil, last: nil, wasFull: false, isWritable: true) == .announceLive)
        #expect(state.positionChecked(head: 11) == .read)
        #expect(state.pageRead(first: 11, last: 11, wasFull: false, isWritable: true) == .none)
    }

    @Test func `resumed means something to a lagging session only`() {
        var state = live()
        #expect(state.resumed() == .none)
        state = reading()
        #expect(state.resumed() == .none)
        #expect(state.phase == .reading)
    }

    @Test func `a page that begins above the next position is a resync`() {
        var state = reading(head: 20)
        #expect(state.pageRead(first: 13, last: 20, wasFull: false, isWritable: true) == .resync)
        #expect(state.cursor == 10)
    }

    @Test func `an empty page where something was announced is a resync`() {
        var state = live()
        #expect(state.published(13, isWritable: true) == .read)
        #expect(state.pageRead(first: nil, last: nil, wasFull: false, isWritable: true) == .resync)
    }

    /// A wake-up and a page come by two connections: an entry appended after the page was made may be heard of first.
    @Test func `an entry published while an empty page is on its way is read, not a resync`() {
        var state = reading()
        #expect(state.published(11, isWritable: true) == .none)
        #expect(state.pageRead(first: nil, last: nil, wasFull: false, isWritable: true) == .read)
        #expect(state.pageRead(first: 11, last: 11, wasFull: false, isWritable: true) == .announceLive)
    }

    @Test func `a head heard of while a page is on its way must be in the next`() {
        var state = reading()
        #expect(state.positionChecked(head: 12) == .none)
        #expect(state.pageRead(first: nil, last: nil, wasFull: false, isWritable: true) == .read)
        #expect(state.pageRead(first: nil, last: nil, wasFull: false, isWritable: true) == .resync)
    }

    @Test func `a head below the cursor is a resync in every phase`() {
        var state = live()
        #expect(state.positionChecked(head: 9) == .resync)
        state = reading()
        #expect(state.positionChecked(head: 9) == .resync)
        state = live()
        _ = state.published(11, isWritable: false)
        #expect(state.positionChecked(head: 9) == .resync)
    }

    @Test func `a position check finds a lost wake-up`() {
        var state = live()
        #expect(state.positionChecked(head: 10) == .none)
        #expect(state.positionChecked(head: 12) == .read)
        #expect(state.positionChecked(head: 12) == .none, "a page is under way")
    }

    @Test func `a failed page is asked for again`() {
        var state = reading(head: 12)
        state.pageFailed()
        #expect(state.phase == .lagging)
        #expect(state.resumed() == .read)
        #expect(state.pageRead(first: 11, last: 12, wasFull: false, isWritable: true) == .announceLive)
    }

    @Test func `rewound, everything comes again and live is announced`() {
        var state = live()
        #expect(state.rewound(to: 4) == .read)
        #expect(state.pageRead(first: 5, last: 10, wasFull: false, isWritable: true) == .announceLive)
        #expect(state.cursor == 10)
    }

    @Test func `a page under way when the client rewinds is thrown away`() {
        var state = reading(head: 12)
        #expect(state.rewound(to: 4) == .none)
        #expect(state.pageRead(first: 11, last: 12, wasFull: false, isWritable: true) == .reread)
        #expect(state.cursor == 4)
        #expect(state.pageRead(first: 5, last: 12, wasFull: false, isWritable: true) == .announceLive)
    }

    @Test func `a page that fails after a rewind is not held against the next`() {
        var state = reading(head: 12)
        _ = state.rewound(to: 4)
        state.pageFailed()
        #expect(state.resumed() == .read)
        #expect(state.pageRead(first: 5, last: 12, wasFull: false, isWritable: true) == .announceLive)
    }
}

@Suite struct ResumeDecisionTests {
    /// The queue has 5...10.
    @Test(
        arguments: [
            (10, ServerFrame.Mode.live), (9, .replay), (4, .replay), (3, .resync), (0, .resync), (11, .resync),
        ] as [(Int64, ServerFrame.Mode)]
    )
    func `a cursor is live, behind, or gone`(q: Int64, mode: ServerFrame.Mode) {
        #expect(ResumeDecision.mode(resume: ("e1", q), epoch: "e1", head: 10, firstAvailable: 5) == mode)
        #expect(ResumeDecision.mode(resume: ("e0", q), epoch: "e1", head: 10, firstAvailable: 5) == .resync)
    }

    @Test func `a queue that was emptied or never used`() {
        #expect(ResumeDecision.mode(resume: nil, epoch: "e1", head: 10, firstAvailable: 5) == .live)
        #expect(ResumeDecision.mode(resume: ("e1", 10), epoch: "e1", head: 10, firstAvailable: 11) == .live)
        #expect(ResumeDecision.mode(resume: ("e1", 9), epoch: "e1", head: 10, firstAvailable: 11) == .resync)
        #expect(ResumeDecision.mode(resume: ("e1", 0), epoch: "e1", head: 0, firstAvailable: 1) == .live)
    }
}

/// A stream that grows, wake-ups that are lost, late or doubled, a socket that fills and drains.
@Suite struct SyncStateSimulation {
    @Test(arguments: 1...20 as ClosedRange<UInt64>) func `every entry once and in order`(seed: UInt64) {
        var world = World(random: SplitMix64(state: seed))
        for _ in 0..<2000 { world.step(isCalm: false) }
        let end = world.head
        for _ in 0..<20_000 where world.written.count < end { world.step(isCalm: true) }
        #expect(world.written.count >= end)
        #expect(world.written == Array(1...Int64(world.written.count)))
    }

    private struct World {
        var random: SplitMix64
        var state = SyncState(cursor: 0, head: 0, announcesLive: true)
        var head: Int64 = 0
        var wakeUps: [Int64] = []
        var wantsRead = true
        /// The stream's head when the page under way was made.
        var page: Int64?
        var written: [Int64] = []

        mutating func step(isCalm: Bool) {
            let isWritable = isCalm || Bool.random(using: &random)
            switch Int.random(in: 0..<6, using: &random) {
            case 0:
                head += 1
                if isCalm || Int.random(in: 0..<4, using: &random) > 0 { wakeUps.append(head) }
            case 1 where !wakeUps.isEmpty:
                let q = Bool.random(using: &random) ? wakeUps.removeFirst() : wakeUps[0]
                run(state.published(q, isWritable: isWritable))
            case 2 where wantsRead:
                wantsRead = false
                page = head
            case 3: readPage(isWritable: isWritable)
            case 4: run(state.resumed())
            default:
                if Int.random(in: 0..<4, using: &random) == 0 { run(state.positionChecked(head: head)) }
            }
        }

        private mutating func readPage(isWritable: Bool) {
            guard let top = page else { return }
            page = nil
            let last = min(top, state.cursor + 4)
            let entries = last > state.cursor ? Array(state.cursor + 1...last) : []
            written += entries
            run(
                state.pageRead(
                    first: entries.first,
                    last: entries.last,
                    wasFull: entries.count == 4,
                    isWritable: isWritable
                )
            )
        }

        private mutating func run(_ action: SyncState.Action) {
            switch action {
            case .none, .announceLive: break
            case .write: written.append(state.cursor)
            case .read: wantsRead = true
            case .reread, .resync: Issue.record("\(action) though nothing was lost")
            }
        }
    }
}
