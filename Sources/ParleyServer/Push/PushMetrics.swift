import RedisClient
import Synchronization

/// What a worker has pushed, or not.
final class PushCounts: Sendable {
    private struct State {
        var outcomes: [[String]: Int] = [:]
        var drops: [PushDrop: Int] = [:]
        var dead = 0
        var times: [PushProviderName: Histogram] = [:]
    }

    private let state = Mutex(State())

    func count(_ provider: PushProviderName, _ outcome: PushOutcome, nanoseconds: Int? = nil) {
        state.withLock {
            $0.outcomes[[provider.rawValue, outcome.name], default: 0] += 1
            if let nanoseconds { $0.times[provider, default: Histogram()].record(nanoseconds: nanoseconds) }
        }
    }

    func count(_ drop: PushDrop) { state.withLock { $0.drops[drop, default: 0] += 1 } }

    func countDead() { state.withLock { $0.dead += 1 } }

    var samples: MetricSamples {
        state.withLock { state in
            var samples = MetricSamples()
            // From the beginning, so that a first one is a rise.
            for provider in PushProviderName.allCases {
                for outcome in PushOutcome.names {
                    let count = state.outcomes[[provider.rawValue, outcome]] ?? 0
                    samples.add(.pushes, provider.rawValue, outcome, value: count)
                }
                samples.add(.pushLatency, provider.rawValue, times: state.times[provider] ?? Histogram())
            }
            for drop in PushDrop.allCases { samples.add(.pushesDropped, drop.rawValue, value: state.drops[drop] ?? 0) }
            samples.add(.pushesDead, value: state.dead)
            return samples
        }
    }
}

/// What a worker says of push: its own counts, and what waits in the whole deployment.
struct PushMetrics: MetricsSource {
    let sender: PushSender
    let redis: RedisClient

    func collect() async -> MetricSamples {
        var samples = sender.counts.samples
        samples.add(.pushBreakersOpen, value: sender.openBreakers)
        if let entries = try? await redis.send("XLEN", Keys.push, repeatable: true).integer,
            let oldest = try? await redis.send("XRANGE", Keys.push, "-", "+", "COUNT", "1", repeatable: true)
        {
            let since = oldest.array?.first?.array?.first?.string?.split(separator: "-").first.flatMap { Int64($0) }
            samples.add(.pushBacklog, value: Int(entries))
            samples.add(.pushBacklogAge, value: since.map { Double(max(0, WallClock.milliseconds() - $0)) / 1000 } ?? 0)
        }
        if let waiting = try? await redis.send("ZCARD", Keys.pushRetries, repeatable: true).integer {
            samples.add(.pushRetriesWaiting, value: Int(waiting))
        }
        if let dead = try? await redis.send("XLEN", Keys.pushDead, repeatable: true).integer {
            samples.add(.pushDeadLetters, value: Int(dead))
        }
        return samples
    }
}
