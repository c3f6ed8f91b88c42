import ArgumentParser
import NIOCore
import NIOPosix
import ParleyClient

struct Chat: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Pairs of users chat across the gateways; every message is checked.",
        discussion: """
            Open-loop: messages are due at times of their own, however the answers come, and latencies count from
            then. Users 2k and 2k+1 are a pair, signed in at different gateways.
            """
    )

    @OptionGroup var target: TargetOptions

    @Option(help: "Messages a second, of all users together.")
    var rate = 500.0

    @Option(help: "How long to send before measuring, in seconds. These messages are checked like the others.")
    var warmup = 5.0

    @Option(help: "Bytes of a message's body, 16 to 16384.")
    var body = 100

    @Flag(help: "Equal gaps between messages instead of a Poisson process.")
    var fixed = false

    @Option(help: "How long to wait at the end for what is still to come, in seconds.")
    var drain = 30.0

    func validate() throws {
        guard target.users >= 2, target.users.isMultiple(of: 2) else { throw ValidationError("--users must be even") }
        guard rate > 0, rate <= 1e6 else { throw ValidationError("--rate must be positive") }
        guard warmup >= 0, drain >= 0 else { throw ValidationError("--warmup and --drain must not be negative") }
        guard MessageTag.digits...16_384 ~= body else { throw ValidationError("--body must be from 16 to 16384") }
    }

    func run() async throws {
        try await runScenario(threads: target.threads) { group in
            let stack = try target.stackDescription()
            let plan = ChatRun.Plan(
                users: target.users,
                rate: rate,
                duration: target.duration,
                warmup: warmup,
                drain: drain,
                bodyBytes: body,
                isPoisson: !fixed,
                threads: target.threads
            )
            let report = try await ChatRun(
                gateways: target.targets(of: stack),
                stack: stack,
                group: group,
                plan: plan
            ).run()
            report.printTable()
            if let path = target.json { try report.write(to: path) }
            return report.holds
        }
    }
}
