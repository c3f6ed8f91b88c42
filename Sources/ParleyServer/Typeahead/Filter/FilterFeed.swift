import Logging
import NIOCore
import ParleyCore
import RedisClient
import ServiceLifecycle
import Synchronization

/// Keeps a gateway's rules as PostgreSQL has them: a change is announced through Redis and read at once, and whoever did
/// not hear of it asks every two seconds. What was read last stays in force while PostgreSQL is away.
///
/// It tells Redis which version is in force here, so that whoever blocks a word can see that it is gone everywhere.
final class FilterFeed: Service {
    private struct Standing {
        /// nil before the rules were read.
        var filter: SuggestFilter?
        /// Milliseconds from the change to its being in force here.
        var delay: Int64?
    }

    private let store: RuleStore
    private let redis: RedisClient
    private let name: String
    private let apply: @Sendable (SuggestFilter) async -> Void
    private let logger: Logger
    private let standing = Mutex(Standing())
    private let wakeUps: AsyncStream<Void>
    private let wake: AsyncStream<Void>.Continuation

    static let channel = "suggest:filter"
    /// Which version each gateway has.
    static let gatewaysKey = "suggest:gateways"
    private static let pause = Duration.seconds(2)

    /// - Parameters:
    ///   - redis: that of suggestions.
    ///   - apply: returns when no answer is made by the rules before.
    init(
        store: RuleStore,
        redis: RedisClient,
        name: String,
        logger: Logger,
        apply: @escaping @Sendable (SuggestFilter) async -> Void = { _ in }
    ) {
        self.apply = apply
        self.store = store
        self.redis = redis
        self.name = name
        self.logger = logger
        (wakeUps, wake) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// What is in force here.
    var filter: SuggestFilter { standing.withLock { $0.filter } ?? SuggestFilter() }

    /// How late the last change came, in milliseconds; nil where none came since the start.
    var delay: Int64? { standing.withLock { $0.delay } }

    func run() async throws {
        let loop = redis.connections[0].eventLoop
        let wake = wake
        let subscriber = redis.subscriber(on: loop) { _, _ in
            wake.yield()
        } onResubscribed: {
            wake.yield()
        }
        loop.execute { subscriber.subscribe(Self.channel) }
        await cancelWhenGracefulShutdown {
            let poll = Task { [wake] in
                while !Task.isCancelled {
                    try? await Task.sleep(for: Self.pause)
                    wake.yield()
                }
            }
            await self.update()
            for await _ in self.wakeUps { await self.update() }
            poll.cancel()
        }
        await subscriber.close()
        _ = try? await redis.send(RedisFunctions.call("worker_here", keys: [Self.gatewaysKey], [name, ""]))
    }

    /// Reads the rules if there is another version; for the start too, before anybody is answered.
    func update() async {
        do {
            if try await store.version() != standing.withLock({ $0.filter?.version }) {
                let rules = try await store.read()
                await apply(rules.filter)
                // Both times are PostgreSQL's.
                let delay = rules.at == 0 ? nil : max(0, rules.readAt - rules.at)
                standing.withLock { $0 = Standing(filter: rules.filter, delay: $0.filter == nil ? nil : delay) }
                logger.info("filter of suggestions", metadata: ["version": "\(rules.filter.version)"])
            }
        } catch is CancellationError {
            return
        } catch {
            logger.warning("the filter of suggestions could not be read", metadata: ["error": "\(error)"])
        }
        let standing = standing.withLock { $0 }
        let words = "filter=\(standing.filter?.version ?? -1)" + (standing.delay.map { " delay=\($0)" } ?? "")
        _ = try? await redis.sendIfReady(
            RedisFunctions.call("worker_here", keys: [Self.gatewaysKey], [name, words])
        )
    }
}

extension FilterFeed: MetricsSource {
    func collect() -> MetricSamples {
        var samples = MetricSamples()
        samples.add(.filterVersion, value: Int(filter.version))
        samples.add(.filterDelay, value: Double(delay ?? 0) / 1000)
        return samples
    }
}
