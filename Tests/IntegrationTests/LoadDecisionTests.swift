import ArgumentParser
import Foundation
import ParleyWire
import Testing

@testable import parley_load

/// The load generator's decisions, without I/O.
@Suite struct LoadDecisionTests {
    /// A ledger of two pairs, the first of which has talked: two messages of device 0, answered and delivered.
    private static func ledger(leavingOut: Int? = nil, _ more: [LedgerInput] = []) throws -> DeliveryLedger {
        var ledger = DeliveryLedger(try map())
        for (place, input) in inputs.enumerated() where place != leavingOut { ledger.apply(input) }
        for input in more { ledger.apply(input) }
        return ledger
    }

    private static let run: UInt32 = 5
    private static let inputs: [LedgerInput] = [
        .sent(sender: 0, scheduled: 10, isMeasured: true, cidHigh: 0x7001),
        .sent(sender: 0, scheduled: 20, isMeasured: true, cidHigh: 0x7002),
        .acknowledged(index: 0, mid: 100, seq: 1),
        .acknowledged(index: 1, mid: 200, seq: 2),
        .delivered(tag(0), device: 0, mid: 100, seq: 1),
        .delivered(tag(1), device: 0, mid: 200, seq: 2),
        .delivered(tag(0), device: 1, mid: 100, seq: 1),
        .delivered(tag(1), device: 1, mid: 200, seq: 2),
        .history(conversation: 0, [entry(0), entry(1)]),
    ]

    private static func tag(_ index: Int) -> MessageTag { MessageTag(run: run, index: index) }
    private static func entry(_ index: Int) -> HistoryEntry {
        HistoryEntry(mid: UInt64(100 * (index + 1)), seq: Int64(index + 1), tag: tag(index))
    }

    private static func map() throws -> LedgerMap {
        let text = """
            {"run":\(run),"size":2,"ledgers":1,"conversations":["d:aaaaaaaaaaaa:bbbbbbbbbbbb","d:cccccccccccc:dddddddddddd"],
            "devices":[{"user":"aaaaaaaaaaaa","device":"load"},{"user":"bbbbbbbbbbbb","device":"load"},
            {"user":"cccccccccccc","device":"load"},{"user":"dddddddddddd","device":"load"}]}
            """
        return try JSONDecoder().decode(LedgerMap.self, from: Data(text.utf8))
    }

    private static func counts(_ ledger: DeliveryLedger) -> [Int] {
        let verdict = ledger.verdict()
        return [verdict.lost, verdict.duplicated, verdict.reordered, verdict.leaked]
    }

    @Test func healthyRunHolds() throws {
        let ledger = try Self.ledger()
        #expect(Self.counts(ledger) == [0, 0, 0, 0])
        #expect(ledger.outstanding == 0)
    }

    @Test(arguments: [4, 5, 6, 7]) func aDeliveryLeftOutIsALoss(_ place: Int) throws {
        #expect(Self.counts(try Self.ledger(leavingOut: place)) == [1, 0, 0, 0])
    }

    @Test func whatIsNotAcknowledgedMayBeMissing() throws {
        var ledger = DeliveryLedger(try Self.map())
        ledger.apply(Self.inputs[0])
        #expect(Self.counts(ledger) == [0, 0, 0, 0])
        #expect(ledger.outstanding == 3)
    }

    @Test func historyIsJudged() throws {
        #expect(
            Self.counts(try Self.ledger(leavingOut: 8, [.history(conversation: 0, [Self.entry(1)])])) == [1, 0, 0, 0]
        )
        let doubled = [Self.entry(0), Self.entry(1), HistoryEntry(mid: 300, seq: 3, tag: Self.tag(1))]
        #expect(Self.counts(try Self.ledger(leavingOut: 8, [.history(conversation: 0, doubled)])) == [0, 1, 0, 0])
        let swapped = [Self.entry(1), Self.entry(0)]
        #expect(Self.counts(try Self.ledger(leavingOut: 8, [.history(conversation: 0, swapped)])) == [0, 0, 1, 0])
        #expect(Self.counts(try Self.ledger([.history(conversation: 1, [Self.entry(0)])])) == [0, 0, 0, 1])
    }

    @Test(
        "one more input that breaks the promise",
        arguments: [
            (LedgerInput.delivered(tag(1), device: 1, mid: 200, seq: 2), [0, 1, 0, 0]),
            (.delivered(tag(1), device: 2, mid: 200, seq: 2), [0, 0, 0, 1]),
            (.delivered(MessageTag(run: 6, index: 0), device: 1, mid: 300, seq: 3), [0, 0, 0, 1]),
            (.delivered(nil, device: 1, mid: 300, seq: 3), [0, 0, 0, 1]),
            (.acknowledged(index: 1, mid: 201, seq: 2), [0, 1, 0, 0]),
            (.strayAnswer(device: 1, mid: 300, seq: 3), [0, 0, 0, 1]),
        ]
    )
    func mutants(_ input: LedgerInput, _ expected: [Int]) throws {
        #expect(Self.counts(try Self.ledger([input])) == expected)
    }

    @Test func orderOfDeliveryIsJudged() throws {
        var ledger = DeliveryLedger(try Self.map())
        for place in [0, 1, 2, 3, 5, 4, 6, 7] { ledger.apply(Self.inputs[place]) }
        #expect(Self.counts(ledger) == [0, 0, 1, 0])
    }

    @Test func aHoleInTheSeqsIsSeen() throws {
        var ledger = DeliveryLedger(try Self.map())
        ledger.apply(Self.inputs[0])
        ledger.apply(.acknowledged(index: 0, mid: 100, seq: 7))
        for device in 0...1 { ledger.apply(.delivered(Self.tag(0), device: device, mid: 100, seq: 7)) }
        #expect(Self.counts(ledger) == [0, 0, 12, 0])
    }

    @Test func sendsOfOneConnectionKeepTheirOrder() throws {
        func ledger(repeated: Bool) throws -> DeliveryLedger {
            var ledger = DeliveryLedger(try Self.map())
            for input in Self.inputs.prefix(2) { ledger.apply(input) }
            if repeated { ledger.apply(.repeated(index: 0)) }
            ledger.apply(.acknowledged(index: 0, mid: 200, seq: 2))
            ledger.apply(.acknowledged(index: 1, mid: 100, seq: 1))
            for device in 0...1 {
                ledger.apply(.delivered(Self.tag(1), device: device, mid: 100, seq: 1))
                ledger.apply(.delivered(Self.tag(0), device: device, mid: 200, seq: 2))
            }
            return ledger
        }
        #expect(Self.counts(try ledger(repeated: false)) == [0, 0, 1, 0])
        #expect(Self.counts(try ledger(repeated: true)) == [0, 0, 0, 0])
    }

    @Test func aRefusedSendAppearsNowhere() throws {
        var ledger = DeliveryLedger(try Self.map())
        ledger.apply(Self.inputs[0])
        ledger.apply(.refused(index: 0))
        #expect(ledger.outstanding == 0 && ledger.verdict().isEmpty)
        ledger.apply(Self.inputs[6])
        #expect(Self.counts(ledger) == [0, 0, 0, 1])
    }

    @Test func aResyncIsMadeGoodFromHistory() throws {
        // Device 1 is told to resync before the second message comes: its copy is in history, or lost.
        let caughtUp: [LedgerInput] = [
            .resynced(device: 1), .caughtUp(Self.tag(0), device: 1, mid: 100, seq: 1),
            .caughtUp(Self.tag(1), device: 1, mid: 200, seq: 2),
        ]
        #expect(Self.counts(try Self.ledger(leavingOut: 7, caughtUp)) == [0, 0, 0, 0])
        #expect(Self.counts(try Self.ledger(leavingOut: 7, [.resynced(device: 1)])) == [1, 0, 0, 0])
    }

    /// After a resync the socket may bring once more what history brought, and no more than once and in order.
    @Test func theSocketIsJudgedAfterAResyncToo() throws {
        func counts(leavingOut: Int? = nil, _ arrivals: Int...) throws -> [Int] {
            let inputs = arrivals.map { Self.inputs[$0] }
            return Self.counts(try Self.ledger(leavingOut: leavingOut, [.resynced(device: 1)] + inputs))
        }
        #expect(try counts(6, 7) == [0, 0, 0, 0])
        #expect(try counts(7, 7) == [0, 1, 0, 0])
        #expect(try counts(7, 6) == [0, 1, 0, 0])
        #expect(try counts(leavingOut: 6, 7, 6) == [0, 0, 1, 0])
    }

    @Test func manyOfAKindHideNoneOfAnother() {
        func violations() -> Violations {
            var violations = Violations()
            for number in 0..<500 { violations.add(.lost, "\(number)") }
            violations.add(.leaked, "one")
            return violations
        }
        var all = violations()
        all += violations()
        #expect(all.lost == 1000 && all.leaked == 2)
        #expect(all.items.count { $0.kind == .lost } == Violations.listed)
        #expect(all.items.count { $0.kind == .leaked } == 2)
    }

    @Test func aFileThatCannotBeWrittenHidesNoBrokenPromise() {
        let nowhere = "/nowhere/\(UUID().uuidString)"
        #expect(save([(nowhere, "")], .brokenPromise) == .brokenPromise)
        #expect(save([(nowhere, "")], .success) == .couldNotRun)
        #expect(save([(nil, "")], .success) == .success)
    }

    @Test func latenessIsFollowed() throws {
        var ledger = DeliveryLedger(try Self.map())
        for place in 0...6 { ledger.apply(Self.inputs[place]) }
        #expect(ledger.late(before: 20) == 0)
        #expect(ledger.late(before: 21) == 1)
        ledger.apply(Self.inputs[7])
        #expect(ledger.late(before: 21) == 0)
    }

    @Test(
        arguments: inputs + [
            .repeated(index: 1), .refused(index: 0), .resynced(device: 2), .delivered(nil, device: 1, mid: 1, seq: 2),
        ]
    )
    func journalLinesAreReadBack(_ input: LedgerInput) throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
        defer { try? FileManager.default.removeItem(atPath: path) }
        var recorder = try Recorder(Self.map(), journal: path)
        for input in Self.inputs + [input] { recorder.record(input) }
        recorder.finish()
        var reader = try JournalReader(path: path)
        try reader.read()
        #expect(reader.isWhole)
        #expect(reader.ledger.verdict() == recorder.ledger.verdict())
        #expect(reader.ledger.outstanding == recorder.ledger.outstanding)
    }

    @Test func aJournalThatIsCutOffIsNotWhole() throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
        defer { try? FileManager.default.removeItem(atPath: path) }
        var recorder = try Recorder(Self.map(), journal: path)
        for input in Self.inputs { recorder.record(input) }
        recorder.finish()
        let whole = try String(contentsOfFile: path, encoding: .utf8)
        for length in stride(from: whole.utf8.count - 1, to: whole.utf8.count - 80, by: -7) {
            try Data(whole.utf8.prefix(length)).write(to: URL(fileURLWithPath: path))
            var reader = try JournalReader(path: path)
            try reader.read()
            #expect(!reader.isWhole)
        }
        try Data(whole.replacingOccurrences(of: "\na 1 ", with: "\na 9 ").utf8).write(to: URL(fileURLWithPath: path))
        var reader = try JournalReader(path: path)
        #expect(throws: LoadError.self) { try reader.read() }
        try Data("nothing of the kind\n".utf8).write(to: URL(fileURLWithPath: path))
        #expect(throws: LoadError.self) { _ = try JournalReader(path: path) }
    }

    @Test func sharesAddUpToTheWhole() {
        var plan = LoadPlan(scenario: "mixed", gateways: ["http://127.0.0.1:1"])
        plan.chat = .init(users: 26, rate: 130)
        plan.idle = 7
        let shares = (0..<4).map { plan.share($0, of: 4) }
        #expect(shares.compactMap(\.chat).reduce(0) { $0 + $1.users } == 26)
        #expect(shares.compactMap(\.chat).allSatisfy { $0.users.isMultiple(of: 2) && $0.rate == Double(5 * $0.users) })
        #expect(shares.reduce(0) { $0 + $1.idle } == 7)
        #expect(plan.share(0, of: 1).users == plan.users)
        // More processes than pairs: some have none.
        #expect((0..<20).compactMap { plan.share($0, of: 20).chat }.reduce(0) { $0 + $1.users } == 26)
        #expect((0..<20).count { plan.share($0, of: 20).chat != nil } == plan.share(0, of: 20).chattingShares)
    }

    @Test func whoWritesBesidePeopleWhoWatchHasAProcessOfTheirOwn() {
        var plan = LoadPlan(scenario: "presence", gateways: ["http://127.0.0.1:1"])
        plan.chat = .init(users: 20, rate: 10)
        plan.presence = .init(users: 101, rate: 0, friends: 4)
        let shares = (0..<3).map { plan.share($0, of: 3) }
        #expect(shares.map { $0.chat?.users } == [nil, nil, 20])
        #expect(shares.map { $0.presence?.users } == [50, 51, nil])
        #expect(plan.share(0, of: 1).users == 121)
    }

    @Test func groupsAreSharedWhole() {
        var plan = LoadPlan(scenario: "group", gateways: ["http://127.0.0.1:1"])
        plan.chat = .init(users: 70, rate: 7, members: 10, isGroup: true, devices: 3)
        #expect(plan.sessions == 210)
        let shares = (0..<3).compactMap { plan.share($0, of: 3).chat }
        #expect(shares.reduce(0) { $0 + $1.users } == 70)
        #expect(shares.allSatisfy { $0.users.isMultiple(of: 10) && $0.rate == Double($0.users) / 10 })
    }

    /// A conversation of more devices than a word has bits.
    @Test func everyDeviceOfABigGroupCounts() throws {
        let devices = (0..<130).map { _ in #"{"user":"aaaaaaaaaaaa","device":"load"}"# }.joined(separator: ",")
        let text = #"{"run":5,"size":130,"ledgers":1,"conversations":["g:aaaaaaaaaaaa"],"devices":[\#(devices)]}"#
        var ledger = DeliveryLedger(try JSONDecoder().decode(LedgerMap.self, from: Data(text.utf8)))
        ledger.apply(.sent(sender: 129, scheduled: 1, isMeasured: true, cidHigh: 0x7001))
        ledger.apply(.acknowledged(index: 0, mid: 100, seq: 1))
        for device in 0..<130 where device != 77 {
            ledger.apply(.delivered(Self.tag(0), device: device, mid: 100, seq: 1))
        }
        #expect(ledger.outstanding == 1)
        #expect(Self.counts(ledger) == [1, 0, 0, 0])
        ledger.apply(.delivered(Self.tag(0), device: 77, mid: 100, seq: 1))
        #expect(Self.counts(ledger) == [0, 0, 0, 0])
    }

    @Test func stepsRiseUntilTwoAreTooSlow() {
        func results(_ milliseconds: Int64) -> PhaseResults {
            var results = PhaseResults(acked: 10)
            results.latency.record(milliseconds * 1_000_000)
            return results
        }
        var steps = Schedule.Steps(first: 100, increment: 50, limit: 20)
        for (rate, milliseconds) in [(100.0, 5), (150, 30), (150, 10), (200, 25), (200, 25)] as [(Double, Int64)] {
            #expect(steps.next == rate)
            _ = steps.measured(results(milliseconds), rate: rate, seconds: 1, isDrained: true)
        }
        #expect(steps.next == nil)
        #expect(steps.highest == 150)
        steps = .init(first: 100, increment: 50, limit: 20)
        _ = steps.measured(results(5), rate: 100, seconds: 1, isDrained: false)
        #expect(steps.highest == nil && steps.next == 100)
    }

    @Test func latenciesTravelAsJSON() throws {
        var latencies = Latencies()
        for value in 1...1000 { latencies.record(Int64(value) * 1_000_000) }
        let copy = try JSONDecoder().decode(Latencies.self, from: JSONEncoder().encode(latencies))
        #expect(copy.count == 1000)
        #expect(copy.percentile(50) == latencies.percentile(50))
        #expect(copy.percentile(100) == latencies.percentile(100))
        #expect(latencies.curve.last?.first == 100)
    }

    @Test(arguments: [(users: 3, friends: 2), (4, 2), (5, 4), (20, 10), (11, 10)])
    func friendsInARingAreMutual(_ ring: (users: Int, friends: Int)) {
        let plan = LoadPlan.Presence(users: ring.users, rate: 1, friends: ring.friends)
        for user in 0..<ring.users {
            let friends = plan.friends(of: user)
            #expect(Set(friends).count == ring.friends && !friends.contains(user))
            #expect(friends.allSatisfy { plan.friends(of: $0).contains(user) })
        }
    }

    @Test func presenceIsSharedWithItsRate() {
        var plan = LoadPlan(scenario: "presence", gateways: [])
        plan.presence = .init(users: 101, rate: 10, friends: 4)
        let parts = (0..<3).map { plan.share($0, of: 3) }
        #expect(parts.map(\.users).reduce(0, +) == 101)
        #expect(abs(parts.compactMap { $0.presence?.rate }.reduce(0, +) - 10) < 0.001)
        plan.presence?.users = 6
        #expect(plan.share(0, of: 2).presence == nil, "too few for a ring")
    }
}
