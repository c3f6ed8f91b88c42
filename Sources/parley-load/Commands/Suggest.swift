import ArgumentParser
import NIOCore
import NIOPosix
import ParleyClient

struct Suggest: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Asks for suggestions over HTTP, as people who type the queries of a list would.",
        discussion: """
            Queries are drawn by their counts, and of each query each prefix as often as the others. Requests are due
            at a steady rate and leave on connections that are kept; latency counts from when one was due. The gateway
            must give suggestions to everybody (PARLEY_SUGGEST=public). The exit code is 1 when an answer was no 200.
            """
    )

    @Option(help: "The base URL of a gateway; that of the stack's first without it.")
    var gateway: String?

    @Option(help: "The stack.json of a stack: for its processes' CPU.")
    var stack: String?

    @Option(help: "Lines of query and count, with a tab between: what is typed.")
    var queries: String

    @Option(help: "Whose list is asked for.")
    var locale = "default"

    @Option(help: "Requests a second.")
    var rate = 1000.0

    @Option(help: "Connections that are kept.")
    var connections = 64

    @Option(help: "How long to measure, in seconds.")
    var duration = 10.0

    @Option(help: "How long to ask before measuring, in seconds.")
    var warmup = 2.0

    @Option(help: "Prefixes that are drawn; then they come again.")
    var draws = 200_000

    @Option(help: "Another one draws other prefixes.")
    var seed: UInt64 = 1

    @Option(help: "Write the results as JSON to this file.")
    var json: String?

    func validate() throws {
        guard gateway != nil || stack != nil else { throw ValidationError("--gateway or --stack is needed") }
        guard rate > 0, rate <= 1e6, duration > 0, warmup >= 0, connections > 0, connections <= 10_000, draws > 0 else {
            throw ValidationError("--rate, --duration, --connections and --draws must be above 0, --warmup not below")
        }
    }

    private struct Result: Encodable {
        let scenario = "suggest"
        let rate: Double
        let connections: Int
        let duration_s: Double
        let sent: Int
        let answered: Int
        let errors: Int
        let rate_achieved: Double
        let latency_ms: Percentiles
        let server_cpu_us_per_request: [String: Double]?
    }

    func run() async throws {
        let url = try gateway ?? stack.map { try StackDescription(path: $0).gateways.first?.url ?? "" } ?? ""
        let address = try GatewayAddress(url)
        var draw = try PrefixDraw(file: queries, seed: seed)
        let requests = (0..<draws).map { _ in draw.request(host: address.authority, locale: locale) }
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let meter = try stack.map { try ServerMeter(stackPath: $0, eventLoop: loop) }
        let driver = SuggestDriver(eventLoop: loop, requests: requests, rate: rate)
        try await driver.connect(connections, to: address.resolve())
        try await driver.start(warmup: warmup)
        try await Task.sleep(for: .seconds(warmup))
        let before = await meter?.sample()
        var answered = 0
        for second in 1...max(1, Int(duration.rounded(.up))) {
            try await Task.sleep(for: .seconds(min(1, duration - Double(second - 1))))
            let tally = try await driver.look().tally
            let (count, p99) = (pad(String(tally.answered - answered), 9), tally.latency.percentile(99))
            say("\(pad(number(Double(second)), 6)) \(count) answers/s, p99 so far \(milliseconds(p99)) ms")
            answered = tally.answered
        }
        try await driver.stop()
        let after = await meter?.sample()
        for _ in 0..<50 where try await driver.look().open > 0 { try await Task.sleep(for: .milliseconds(100)) }
        let (tally, open) = try await driver.look()
        await meter?.close()
        let cost = before.flatMap { before in after?.since(before).perMessage(tally.answered) }?.cpu
        let result = Result(
            rate: rate,
            connections: connections,
            duration_s: duration,
            sent: tally.sent,
            answered: tally.answered,
            errors: tally.failed.values.reduce(0, +) + open,
            rate_achieved: (Double(tally.answered) / duration).rounded(),
            latency_ms: tally.latency.summary,
            server_cpu_us_per_request: cost.map {
                ["gateways": $0.gateways, "redis": $0.redis, "postgres": $0.postgres, "total": $0.total]
            }
        )
        let text = try resultJSON(result)
        say(text)
        if let json { try write(text, to: json) }
        guard result.errors == 0 else { throw ExitCode(1) }
    }
}
