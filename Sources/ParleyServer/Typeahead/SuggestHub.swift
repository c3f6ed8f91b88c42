import Logging
import NIOCore
import ParleyCore
import PostgresClient
import RedisClient
import ServiceLifecycle

/// The engines of a process, kept at what is in force: a flip is published, and PostgreSQL asked every few seconds.
final class SuggestHub: Service, MetricsSource {
    let engines: [SuggestEngine]
    private let byLoop: [ObjectIdentifier: SuggestEngine]
    private let store: SuggestStore
    private let subscriber: RedisSubscriber
    private let news: AsyncStream<Void>
    private let logger: Logger

    private static let pause = Duration.seconds(2)

    init(
        _ configuration: SuggestConfiguration,
        eventLoops: [any EventLoop],
        redis: RedisClient,
        postgres: PostgresPool,
        logger: Logger
    ) {
        engines = eventLoops.map {
            SuggestEngine(
                eventLoop: $0,
                configuration: configuration,
                redis: redis,
                postgres: postgres,
                logger: logger
            )
        }
        byLoop = Dictionary(uniqueKeysWithValues: engines.map { (ObjectIdentifier($0.eventLoop), $0) })
        store = SuggestStore(postgres: postgres)
        self.logger = logger
        let (news, heard) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        self.news = news
        let loop = eventLoops[0]
        subscriber = redis.subscriber(on: loop, onMessage: { _, _ in heard.yield() }, onResubscribed: { heard.yield() })
        let subscriber = subscriber
        loop.execute { subscriber.subscribe(GenerationWriter.channel) }
        // One clock for all reasons to look.
        timer = Task {
            while !Task.isCancelled {
                heard.yield()
                try? await Task.sleep(for: Self.pause)
            }
            heard.finish()
        }
        for engine in engines { engine.start() }
    }

    private let timer: Task<Void, Never>

    subscript(eventLoop: any EventLoop) -> SuggestEngine {
        guard let engine = byLoop[ObjectIdentifier(eventLoop)] else {
            preconditionFailure("an event loop that the gateway does not serve with")
        }
        return engine
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            for await _ in self.news { await self.look() }
        }
        timer.cancel()
        await subscriber.close()
        for engine in engines { await engine.close() }
    }

    /// Looks what is in force. What PostgreSQL does not say stays as it was.
    func look() async {
        do {
            let current = try await store.current()
            let lists = Dictionary(current.map { ($0.locale, $0) }) { one, _ in one }
            for engine in engines { engine.eventLoop.execute { engine.adopt(lists) } }
        } catch {
            logger.warning("not known which suggestions are in force", metadata: ["error": "\(error)"])
        }
    }

    /// When it returns no answer has what the filter forbids.
    func adopt(_ filter: SuggestFilter) async {
        for engine in engines { try? await engine.eventLoop.submit { engine.adopt(filter) }.get() }
    }

    func collect() async -> MetricSamples {
        var samples = MetricSamples()
        for source in SuggestMetrics.Source.allCases {
            let count = engines.reduce(0) { $0 + $1.metrics.count(of: source) }
            if source == .refill {
                samples.add(.suggestRefills, value: count)
            } else {
                samples.add(.suggestLookups, source.label, value: count)
            }
        }
        guard let engine = engines.first else { return samples }
        let lists = try? await engine.eventLoop.submit { engine.lists }.get()
        // As answers say where there is no list.
        let generations = [SuggestLocale.fallback: 0].merging((lists ?? [:]).mapValues { Int($0.id) }) { $1 }
        for (locale, id) in generations { samples.add(.suggestGeneration, locale.description, value: id) }
        return samples
    }
}
