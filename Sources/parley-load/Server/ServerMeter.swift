import Logging
import NIOCore
import RedisClient

/// Reads what a stack uses while its processes may be killed, paused and started again: stack.json anew each time,
/// processor time and memory from /proc, Redis's counters by INFO.
///
/// What a process used after the last sample before its end is not counted: sample every second or so.
actor ServerMeter {
    private let path: String
    private var stack: StackDescription
    private var processes = ProcessTally()
    private var commands = RedisTally()
    private let redis: RedisClient
    private var isStarted = false

    /// - Parameters:
    ///   - stackPath: of stack.json.
    ///   - eventLoop: where the connection to Redis lives.
    /// - Throws: `LoadError` where stack.json cannot be read, `RedisError` for a URL in it that is none.
    init(stackPath: String, eventLoop: any EventLoop) throws {
        path = stackPath
        stack = try StackDescription(path: stackPath)
        var configuration = try RedisConfiguration(url: stack.redis.url)
        configuration.connectionsPerLoop = 1
        configuration.commandTimeout = Self.patience
        configuration.connectTimeout = Self.patience
        configuration.clientName = "parley-load"
        redis = try RedisClient(
            configuration: configuration,
            eventLoops: [eventLoop],
            logger: Logger(label: "parley-load", factory: { _ in SwiftLogNoOpLogHandler() })
        )
    }

    /// How long Redis may take to answer: a sample takes hardly longer even where it is away.
    static let patience = TimeAmount.milliseconds(500)

    /// The sums as they are now. Of a Redis that does not answer, and of processes that ended, those seen last. The
    /// first sample waits longer for Redis.
    func sample() async -> ServerReading {
        if let current = try? StackDescription(path: path) { stack = current }
        let table = ProcessTable()
        processes.observe(stack, in: table)
        let resident = stack.gateways.map(\.id).compactMap { id in
            table.holds(id) ? ProcessTable.residentKiB(id.pid).map { (id, $0) } : nil
        }
        let isWhole = resident.count == stack.gateways.count
        if !isStarted {
            isStarted = true
            try? await redis.start(within: .seconds(3))
        }
        if let answer = try? await redis.send(RedisCommand(RedisTally.question)).string { commands.observe(answer) }
        return ServerReading(
            cpu: processes.cpu,
            gatewayRSS: isWhole ? Dictionary(resident, uniquingKeysWith: { $1 }) : nil,
            redis: commands.usage
        )
    }

    func close() async {
        await redis.close()
    }
}
