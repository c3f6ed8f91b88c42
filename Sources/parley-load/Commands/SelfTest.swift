import ArgumentParser
import NIOCore
import NIOPosix

struct SelfTest: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Chats with a gateway inside this process: how fast the generator can go, and that it counts right.",
        discussion:
            """
            The gateway keeps everything in memory, on an event loop of its own; its CPU counts as the generator's. The
            rate rises by --step until the p99 from send to delivery is above 50 ms.
            """
    )

    @Option(help: "Messages a second to begin with.")
    var rate = 10_000.0

    @Option(help: "Messages a second more each --duration; 0 stays at --rate.")
    var step = 10_000.0

    @Option(help: "How many users.")
    var users = 200

    @Option(help: "How long to measure each rate, in seconds.")
    var duration = 5.0

    @Option(help: "Where to write the results as JSON.")
    var json: String?

    func validate() throws {
        guard users >= 2, users.isMultiple(of: 2) else { throw ValidationError("--users must be even") }
        guard rate > 0, duration > 0 else { throw ValidationError("--rate and --duration must be positive") }
        guard step >= 0 else { throw ValidationError("--step must not be negative") }
    }

    func run() async throws {
        try await reporting { group in
            let servers = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let gateway = try await EchoGateway.start(on: servers)
            var plan = LoadPlan(scenario: "self-test", gateways: [gateway.url])
            plan.chat = .init(users: users, rate: rate)
            var schedule = Schedule(warmup: 1, duration: duration)
            if step > 0 { schedule.steps = .init(first: rate, increment: step, limit: 50) }
            let report = try await LoadRun(plan: plan, schedule: schedule, group: group).run()
            report.printTable()
            return save([(json, try resultJSON(report))], report.exitCode)
        }
    }
}
