import Foundation
import NIOCore
import NIOPosix
import ParleyClient
import ParleyWire
import Testing

@testable import parley_load

/// Whole runs of the load generator, against a gateway in this process that can be told to break its promise.
@Suite struct LoadRunTests {
    private static func chat(
        _ fault: EchoGateway.Fault? = nil,
        breaking: Bool = false,
        journal: String? = nil,
        steps: Schedule.Steps? = nil,
        receive: Receive? = nil
    ) async throws -> RunReport {
        var report: RunReport?
        try await withEcho(fault: fault) { gateway, group in
            let breaker = Task {
                guard breaking else { return }
                while try await gateway.sessionCount() < 20 { try await Task.sleep(for: .milliseconds(10)) }
                // Three times while messages flow; then devices come back in their own time.
                for _ in 0..<3 {
                    try await gateway.breakConnections()
                    try await Task.sleep(for: .milliseconds(350))
                }
            }
            var plan = LoadPlan(scenario: "chat", gateways: [gateway.url])
            plan.chat = .init(users: 20, rate: 400)
            plan.journal = journal
            plan.receive = receive
            var run = LoadRun(plan: plan, schedule: Schedule(warmup: 0.2, duration: 1, steps: steps), group: group)
            // What was held back on purpose never comes.
            run.drain = if case .drop = fault { 3 } else if case .swap = fault { 3 } else { 30 }
            report = try await run.run()
            breaker.cancel()
            _ = await breaker.result
        }
        return try #require(report)
    }

    @Test func everythingIsCountedOnce() async throws {
        let report = try await Self.chat()
        #expect(report.holds)
        #expect(report.results.sent > 0)
        #expect(report.results.acked == report.results.sent)
        #expect(report.results.delivered == 2 * report.results.sent)
        #expect(report.results.deliveriesExpected == 2 * report.results.sent)
        #expect(report.results.latency.count == report.results.sent)
        #expect(report.outcome.conversationsRead == 10)
        #expect(report.results.usage.bytesFromClients > 0)
    }

    @Test func holdsWhileConnectionsBreak() async throws {
        let report = try await Self.chat(breaking: true)
        #expect(report.outcome.violations == Violations())
        #expect(report.outcome.fleet.unexpectedCloses > 0)
        #expect(report.results.delivered == 2 * report.results.sent)
    }

    @Test func seesADroppedMessage() async throws {
        let report = try await Self.chat(.drop(50))
        #expect(report.outcome.violations.lost > 0)
        #expect(report.outcome.violations.items.first?.message.contains("did not reach") == true)
        #expect(!report.holds)
    }

    @Test func seesADoubledMessage() async throws {
        #expect(try await Self.chat(.double(50)).outcome.violations.duplicated > 0)
    }

    @Test func seesSwappedMessages() async throws {
        #expect(try await Self.chat(.swap(20)).outcome.violations.reordered > 0)
    }

    @Test func seesALeakedMessage() async throws {
        #expect(try await Self.chat(.leak(50)).outcome.violations.leaked > 0)
    }

    @Test func seesAMessageMissingInHistory() async throws {
        let report = try await Self.chat(.forget(50))
        #expect(report.outcome.violations.lost > 0)
        #expect(report.results.delivered == 2 * report.results.acked)
    }

    /// The same judgement, in the run and from its journal.
    @Test(arguments: [nil, EchoGateway.Fault.drop(50), .double(50), .swap(20), .forget(50)])
    func journalIsJudgedAlike(_ fault: EchoGateway.Fault?) async throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let report = try await Self.chat(fault, journal: directory.path)
        var reader = try JournalReader(path: directory.appendingPathComponent("chat-0.journal").path)
        try reader.read()
        #expect(reader.isWhole)
        #expect(reader.ledger.verdict() == report.outcome.violations)
        #expect(reader.ledger.verdict().isEmpty == (fault == nil))
        #expect(reader.ledger.messages.count >= report.results.sent)
    }

    /// Those who listen by polls are judged like those with a socket.
    @Test func pollsAreJudgedAlike() async throws {
        let receive = Receive.poll(every: 0.05)
        let report = try await Self.chat(receive: receive)
        #expect(report.holds)
        #expect(report.results.delivered == 2 * report.results.sent && report.results.sent > 0)
        #expect(report.results.latency.count == report.results.sent)
        #expect(try await Self.chat(.drop(50), receive: receive).outcome.violations.lost > 0)
        #expect(try await Self.chat(.double(50), receive: receive).outcome.violations.duplicated > 0)
        #expect(try await Self.chat(.swap(20), receive: receive).outcome.violations.reordered > 0)
    }

    @Test func stepsEndAtTheLimit() async throws {
        // No machine answers within no time: the first rate does not hold, nor does its repetition.
        let report = try await Self.chat(steps: .init(first: 200, increment: 100, limit: 0))
        #expect(report.measurement.steps?.results.map(\.rate) == [200, 200])
        #expect(report.measurement.steps?.highest == nil)
        #expect(report.holds)
        #expect(report.results.acked == report.results.sent && report.results.sent > 0, "those of the last")
    }

    /// Nobody writes to those who are merely there.
    @Test func seesAMessageLeakedToAnIdleSession() async throws {
        try await withEcho(fault: .leak(10)) { gateway, group in
            var plan = LoadPlan(scenario: "mixed", gateways: [gateway.url])
            plan.chat = .init(users: 2, rate: 200)
            plan.idle = 5
            let report = try await LoadRun(plan: plan, schedule: Schedule(warmup: 0, duration: 1), group: group).run()
            #expect(report.outcome.violations.leaked > 0)
            #expect(report.outcome.violations.items.contains { $0.message.contains("who is in no conversation") })
            #expect(report.exitCode == .brokenPromise)
        }
    }

    /// Everybody goes to another gateway when told to, where they may have to take what they missed from history.
    @Test(arguments: [nil, EchoGateway.Fault.resync])
    func holdsWhileSessionsMove(_ fault: EchoGateway.Fault?) async throws {
        try await withEcho(fault: fault) { gateway, group in
            let other = gateway.url.replacingOccurrences(of: "127.0.0.1", with: "localhost")
            var plan = LoadPlan(scenario: "chat", gateways: [gateway.url, other])
            plan.chat = .init(users: 20, rate: 100)
            plan.idle = 5
            let interrupt = Interrupt()
            let moves = Task {
                for url in [gateway.url, other, gateway.url] {
                    let before = try await gateway.counts().messages
                    while try await gateway.counts().messages < before + 100 {
                        try await Task.sleep(for: .milliseconds(10))
                    }
                    try await gateway.sendAway(to: url)
                }
                interrupt.press()
            }
            var run = LoadRun(plan: plan, schedule: Schedule(warmup: 0, duration: 600), group: group)
            run.interrupt = interrupt
            let report = try await run.run()
            try await moves.value
            #expect(report.outcome.violations == Violations())
            #expect(report.outcome.fleet.unexpectedCloses == 0)
            #expect(report.outcome.fleet.connected == 25)
            #expect(report.results.delivered == 2 * report.results.sent && report.results.sent > 0)
            #expect((report.outcome.fleet.resyncs > 0) == (fault != nil))
        }
    }

    /// The gateway that everybody is told to go to never answers, and the one they were at ends: they come back.
    @Test(.timeLimit(.minutes(3))) func aMoveThatIsNotAnsweredIsGivenUp() async throws {
        try await withEcho(fault: .ignore(4)) { gateway, group in
            let other = gateway.url.replacingOccurrences(of: "127.0.0.1", with: "localhost")
            var plan = LoadPlan(scenario: "chat", gateways: [gateway.url, other])
            plan.chat = .init(users: 4, rate: 20)
            let moves = Task {
                while try await gateway.counts().messages < 20 { try await Task.sleep(for: .milliseconds(10)) }
                for url in [gateway.url, other] { try await gateway.sendAway(to: url) }
                while try await gateway.counts().returns < 4 { try await Task.sleep(for: .milliseconds(10)) }
                try await gateway.breakConnections()
            }
            var run = LoadRun(plan: plan, schedule: Schedule(warmup: 0, duration: 5), group: group)
            run.drain = 90
            let report = try await run.run()
            try await moves.value
            #expect(report.outcome.violations == Violations())
            #expect(report.outcome.fleet.unexpectedCloses == 4 && report.outcome.fleet.connected == 4)
            #expect(report.results.delivered == 2 * report.results.sent && report.results.sent > 0)
        }
    }

    /// A history longer than a page is read to its end.
    @Test(.timeLimit(.minutes(2))) func longHistoriesAreReadPageByPage() async throws {
        try await withEcho { gateway, group in
            var plan = LoadPlan(scenario: "chat", gateways: [gateway.url])
            plan.chat = .init(users: 2, rate: 600)
            let report = try await LoadRun(
                plan: plan,
                schedule: Schedule(warmup: 0.1, duration: 1),
                group: group
            ).run()
            #expect(report.results.sent > 200)
            #expect(report.holds)
        }
    }

    @Test func idleSessionsAreHeld() async throws {
        try await withEcho { gateway, group in
            var plan = LoadPlan(scenario: "connect", gateways: [gateway.url])
            plan.idle = 30
            let report = try await LoadRun(
                plan: plan,
                schedule: Schedule(warmup: 0, duration: 0.5),
                group: group
            ).run()
            #expect(report.holds)
            #expect(report.outcome.fleet.connected == 30)
        }
    }
}
