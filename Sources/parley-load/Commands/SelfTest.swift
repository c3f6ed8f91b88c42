import ArgumentParser
import NIOCore
import NIOPosix

struct SelfTest: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Chats with a gateway inside this process: how fast the generator can go, and that it counts right.",
        discussion:
            "The gateway keeps everything in memory, on an event loop of its own; its CPU counts as the generator's."
    )

    @Option(help: "Messages a second.")
    var rate = 20_000.0

    @Option(help: "How many users.")
    var users = 200

    @Option(help: "How long to measure, in seconds.")
    var duration = 5.0

    @Option(help: "Where to write the results as JSON.")
    var json: String?

    func validate() throws {
        guard users >= 2, users.isMultiple(of: 2) else { throw ValidationError("--users must be even") }
        guard rate > 0, duration > 0 else { throw ValidationError("--rate and --duration must be positive") }
    }

    func run() async throws {
        try await reporting { group in
            let servers = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let gateway = try await EchoGateway.start(on: servers)
            var plan = LoadPlan(scenario: "self-test", gateways: [gateway.url])
            plan.chat = .init(users: users, rate: rate)
            let schedule = Schedule(warmup: 1, duration: duration)
            let report = try await LoadRun(plan: plan, schedule: schedule, group: group).run()
            report.printTable()
            if let json { try write(resultJSON(report), to: json) }
            try await gateway.stop()
            try await servers.shutdownGracefully()
            return report.holds ? .success : .brokenPromise
        }
    }
}
