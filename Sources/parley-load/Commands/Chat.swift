import ArgumentParser

struct Chat: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Pairs of users chat across the gateways; every message is checked.",
        discussion: """
            Open-loop: messages are due at times of their own, however the answers come, and latencies count from
            then. Users 2k and 2k+1 are a pair, signed in at different gateways. With --receive the first of each pair
            writes, and the second listens.
            """
    )

    @OptionGroup var run: RunOptions
    @OptionGroup var chat: ChatOptions

    func validate() throws {
        try chat.validate(users: run.users)
    }

    func run() async throws {
        try await run.run("chat", try chat.schedule(duration: run.duration), drain: chat.drain) {
            $0.chat = chat.plan(users: run.users)
        }
    }
}

/// What every scenario with chat takes.
struct ChatOptions: ParsableArguments {
    @Option(help: "Messages a second, of all users together; with --step the first rate.")
    var rate = 500.0

    @Option(help: "Raise the rate by this each --duration, until --until-p99 is passed twice in a row.")
    var step: Double?

    @Option(name: .customLong("until-p99"), help: "With --step: the p99 from send to delivery that ends it.")
    var untilP99 = "50ms"

    @Option(help: "How long to send before measuring, in seconds. These messages are checked like the others.")
    var warmup = 5.0

    @Option(help: "Bytes of a message's body, 16 to 16384.")
    var body = 100

    @Flag(help: "Equal gaps between messages instead of a Poisson process.")
    var fixed = false

    @Option(help: "Devices of each user, all of which get every message.")
    var devices = 1

    @Option(help: "How long to wait at the end for what is still to come, in seconds.")
    var drain = 30.0

    func validate(users: Int, members: Int = 2) throws {
        guard users >= members, users.isMultiple(of: members) else {
            throw ValidationError(members == 2 ? "--users must be even" : "--users must be a multiple of --members")
        }
        guard 1...100 ~= devices else { throw ValidationError("--devices must be from 1 to 100") }
        guard rate > 0, rate <= 1e6 else { throw ValidationError("--rate must be positive, 1000000 at most") }
        if let step, step <= 0 { throw ValidationError("--step must be positive") }
        guard limit != nil else { throw ValidationError("--until-p99 is a time such as 50ms or 1s") }
        guard warmup >= 0, drain >= 0 else { throw ValidationError("--warmup and --drain must not be negative") }
        guard MessageTag.digits...16_384 ~= body else { throw ValidationError("--body must be from 16 to 16384") }
    }

    func plan(users: Int) -> LoadPlan.Chat {
        LoadPlan.Chat(users: users, rate: rate, bodyBytes: body, isPoisson: !fixed, devices: devices)
    }

    func schedule(duration: Double) throws -> Schedule {
        var schedule = Schedule(warmup: warmup, duration: duration)
        if let step, let limit { schedule.steps = .init(first: rate, increment: step, limit: limit) }
        return schedule
    }

    /// In milliseconds.
    private var limit: Double? {
        parley_load.milliseconds(of: untilP99)
    }
}

/// Of a text such as `50ms` or `1s`; nil for any other, and where it is not positive.
func milliseconds(of text: String) -> Double? {
    for (unit, factor) in [("ms", 1.0), ("s", 1000)] where text.hasSuffix(unit) {
        return Double(text.dropLast(unit.count)).flatMap { $0 > 0 ? $0 * factor : nil }
    }
    return nil
}
