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

    func run() async throws {
        try await runScenario(threads: 1) { group in
            let servers = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let gateway = try await EchoGateway.start(on: servers)
            var plan = ChatRun.Plan(users: users, rate: rate, duration: duration)
            plan.warmup = 1
            let run = ChatRun(gateways: [try Target(url: gateway.url)], stack: nil, group: group, plan: plan)
            let report = try await run.run()
            report.printTable()
            if let json { try report.write(to: json) }
            try await gateway.stop()
            try await servers.shutdownGracefully()
            return report.holds
        }
    }
}
