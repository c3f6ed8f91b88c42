import NIOCore
import PostgresClient
import RedisClient
import Synchronization

/// What a command of Redis is for, as far as metrics tell them apart.
enum RedisSeries: UInt8, CaseIterable {
    case other, commit, sync
}

extension RedisCommand {
    func counted(as series: RedisSeries) -> RedisCommand {
        var command = self
        command.series = series.rawValue
        return command
    }
}

/// A process's connections to Redis on one event loop.
final class RedisMetrics: MetricsSource, @unchecked Sendable {
    private let eventLoop: any EventLoop
    private let connections: [RedisConnection]
    @exclusivity(unchecked) private var times = [Histogram](repeating: Histogram(), count: RedisSeries.allCases.count)

    init(eventLoop: any EventLoop, connections: [RedisConnection]) {
        self.eventLoop = eventLoop
        self.connections = connections
        eventLoop.execute {
            for connection in connections {
                connection.onReply = { [unowned self] series, time in
                    times[Int(series)].record(nanoseconds: Int(time.nanoseconds))
                }
            }
        }
    }

    func collect() async -> MetricSamples {
        (try? await eventLoop.submit { self.samples }.get()) ?? MetricSamples()
    }

    private var samples: MetricSamples {
        var samples = MetricSamples()
        for series in RedisSeries.allCases {
            samples.add(.redisCommands, "\(series)", times: times[Int(series.rawValue)])
        }
        samples.add(.redisOutstanding, value: connections.reduce(0) { $0 + $1.outstanding })
        samples.add(.redisUnanswered, value: connections.reduce(0) { $0 + $1.unanswered })
        samples.add(.redisReconnects, "commands", value: connections.reduce(0) { $0 + max(0, $1.connects - 1) })
        return samples
    }
}

/// How long statements of PostgreSQL take.
final class StatementTimes: Sendable {
    private let times = Mutex(Histogram())

    func record(_ time: Duration) { times.withLock { $0.record(nanoseconds: Int(time / .nanoseconds(1))) } }

    var histogram: Histogram { times.withLock { $0 } }
}

/// A process's connections to PostgreSQL.
struct PostgresMetrics: MetricsSource {
    let pool: PostgresPool
    let limit: Int
    let times: StatementTimes

    func collect() -> MetricSamples {
        let (inUse, waiting) = pool.usage
        var samples = MetricSamples()
        samples.add(.postgresStatements, times: times.histogram)
        samples.add(.postgresConnectionsInUse, value: inUse)
        samples.add(.postgresConnectionsLimit, value: limit)
        samples.add(.postgresWaiting, value: waiting)
        return samples
    }
}
