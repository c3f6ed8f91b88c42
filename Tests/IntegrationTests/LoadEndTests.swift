import ArgumentParser
import Foundation
import NIOCore
import NIOPosix
import TestSupport
import Testing

@testable import parley_load

/// Runs of the load generator that do not come to the end that was planned, and what they still tell.
@Suite(.timeLimit(.minutes(5))) struct LoadEndTests {
    private static func run(
        _ gateway: EchoGateway,
        _ group: MultiThreadedEventLoopGroup,
        duration: Double,
        interrupt: Interrupt = Interrupt()
    ) -> LoadRun {
        var plan = LoadPlan(scenario: "chat", gateways: [gateway.url])
        plan.chat = .init(users: 20, rate: 100)
        var run = LoadRun(plan: plan, schedule: Schedule(warmup: 0, duration: duration), group: group)
        run.interrupt = interrupt
        return run
    }

    @Test func ratesAreOverWhatWasMeasured() async throws {
        try await withEcho { gateway, group in
            let interrupt = Interrupt()
            async let ended = Self.run(gateway, group, duration: 600, interrupt: interrupt).run()
            #expect(try await eventually { try await gateway.counts().messages > 500 })
            interrupt.press()
            let report = try await ended
            #expect(report.endedEarly == "interrupted" && report.exitCode == .success)
            #expect(report.duration < 300)
            #expect(50...200 ~= report.rateAchieved, "\(report.rateAchieved)")
            #expect(report.results.usage.bytesFromClients > 500 * 100)
        }
    }

    @Test func aGatewayThatDiesForGoodLeavesTheFiguresSoFar() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let gateway = try await EchoGateway.start(on: group)
        let interrupt = Interrupt()
        var run = Self.run(gateway, group, duration: 600, interrupt: interrupt)
        run.drain = 1
        async let ended = run.run()
        #expect(try await eventually { try await gateway.counts().messages > 100 })
        try await gateway.stop()
        interrupt.press()
        let report = try await ended
        let trouble = try #require(report.outcome.trouble)
        #expect(trouble.hasPrefix("histories could not be read back: \(gateway.url)"))
        #expect(report.results.acked > 0)
        #expect(report.exitCode != .success)
        try await group.shutdownGracefully()
    }

    @Test func readingBackCanBeInterrupted() async throws {
        try await withEcho(fault: .stall(.seconds(20))) { gateway, group in
            let interrupt = Interrupt()
            async let ended = Self.run(gateway, group, duration: 1, interrupt: interrupt).run()
            #expect(try await eventually { try await gateway.counts().histories > 0 })
            interrupt.press()
            let report = try await ended
            #expect(report.endedEarly == "interrupted while histories were read back")
            #expect(report.exitCode == .couldNotRun)
            #expect(report.results.acked > 0 && report.outcome.fleet.devices == 20)
            #expect(report.outcome.violations == Violations())
            // What was left to itself goes on.
            #expect(try await eventually(within: .seconds(120)) { try await gateway.sessionCount() == 0 })
        }
    }

    /// A share whose process ended, and another that goes on.
    @Test func theOthersResultsAreHadWithoutAWorkerThatFails() async throws {
        struct Failing: LoadWorker {
            func perform(_ request: WorkerRequest) async throws -> WorkerAnswer {
                switch request {
                case .signUp, .connect, .begin: .done
                default: throw LoadError("generator process 7 has ended")
                }
            }
        }
        struct Working: LoadWorker {
            func perform(_ request: WorkerRequest) async throws -> WorkerAnswer {
                switch request {
                case .progress: .progress(Progress(acked: 3))
                case .results: .results(PhaseResults(sent: 5))
                case .judge, .finish: .outcome(Outcome(conversationsRead: 2))
                default: .done
                }
            }
        }
        let workers = WorkerGroup(workers: [Failing(), Working()])
        try await workers.prepare(.signUp)
        #expect(await workers.progress().trouble == "generator process 7 has ended")
        #expect(await workers.progress().acked == 3)
        #expect(await workers.results().sent == 5)
        let outcome = await workers.outcome(.finish)
        #expect(outcome.conversationsRead == 2 && outcome.trouble == "generator process 7 has ended")
        await #expect(throws: LoadError.self) { try await workers.prepare(.connect) }
    }

    @Test func limitsAreWaitedForWithinReason() async throws {
        try await withEcho(fault: .limit(10)) { gateway, group in
            let report = try await Self.run(gateway, group, duration: 1).run()
            #expect(report.outcome.fleet.connected == 20)
        }
        try await withEcho(fault: .limit(60_000)) { gateway, group in
            let error = await #expect(throws: LoadError.self) {
                try await Self.run(gateway, group, duration: 1).run()
            }
            #expect(error?.description.contains("PARLEY_LIMITS") == true)
        }
    }

    @Test func whereNothingIsAcknowledgedNothingIsProven() async throws {
        try await withEcho(fault: .refuse) { gateway, group in
            let report = try await Self.run(gateway, group, duration: 1).run()
            #expect(report.holds && report.results.sent > 0)
            #expect(report.doubt == "no message was acknowledged" && report.exitCode == .couldNotRun)
        }
    }
}
