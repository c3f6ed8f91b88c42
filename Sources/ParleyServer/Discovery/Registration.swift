import Logging
import NIOCore
import RedisClient
import ServiceLifecycle
import Synchronization

/// Keeps this gateway in the registry and the registry's picture fresh, once a second from when it listens; and looks
/// whether Redis still answers.
final class Registration: Service {
    private let services: GatewayServices
    private let registry: GatewayRegistry
    private let stores: Stores
    private let hubs: SessionHubs
    private let lag: EventLoopLag
    private let messages = Mutex(MessageRates())
    private let processor = Mutex(ProcessorShare())
    private let listening = AsyncStream<Void>.makeStream()

    private static let pause = Duration.seconds(1)

    init(services: GatewayServices, stores: Stores, hubs: SessionHubs, lag: EventLoopLag) {
        self.services = services
        registry = services.registry
        self.stores = stores
        self.hubs = hubs
        self.lag = lag
    }

    /// Takes the name, after the lease of a process that was killed if need be.
    /// - Throws: `Settings.Problem` if another process has it.
    func claim() async throws {
        let deadline = NIODeadline.now() + GatewayRegistry.lease + .seconds(1)
        // Without Redis, whether the name is taken shows when there is one again.
        while let isOurs = try? await registry.claim(name), !isOurs {
            guard NIODeadline.now() < deadline else { throw nameIsTaken }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    /// From now on clients may come.
    func listens() { listening.continuation.finish() }

    func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.keepEntry() }
            if stores.volatile !== stores.redis { group.addTask { await self.keepLooking() } }
            try await group.waitForAll()
        }
        try? await registry.leave(name)
    }

    private func keepEntry() async throws {
        try await cancelWhenGracefulShutdown {
            for await _ in self.listening.stream {}
            while !Task.isCancelled {
                try await self.renew()
                try? await Task.sleep(for: Self.pause)
            }
        }
    }

    /// Renews the entry and reads the others', now.
    /// - Throws: `Settings.Problem` if another process has the name by now: this one's clients should be told, and go.
    func renew() async throws {
        // A gateway that cannot serve lets its lease end.
        guard !services.isCutOff || stores.volatile === stores.redis else { return }
        let configuration = services.configuration
        let (sent, delivered) = await totals()
        let entry = GatewayEntry(
            name: configuration.name,
            url: configuration.publicURL,
            zone: configuration.zone,
            sessions: services.sessionCount,
            // Whoever serves no sockets is offered to nobody.
            capacity: configuration.serves == .api ? 0 : configuration.capacity,
            lag: Int(lag.recent.nanoseconds / 1000),
            processorPercent: processor.withLock { $0.percent() },
            isDraining: services.isDraining,
            version: Version.current,
            messages: messages.withLock { $0.counted(sent: sent, delivered: delivered) }
        )
        do {
            guard try await registry.renew(entry) else { throw nameIsTaken }
            if stores.volatile === stores.redis { services.redisAnswered() }
            services.origins.add(gateways: registry.entries.map(\.url))
        } catch let error as RedisError {
            if stores.volatile === stores.redis { hear(error) }
            if !Task.isCancelled { services.logger.warning("registry unavailable", metadata: ["error": "\(error)"]) }
        }
    }

    /// Messages committed and delivered here since the start.
    private func totals() async -> (sent: Int, delivered: Int) {
        var totals = (sent: services.http.committed, delivered: 0)
        for hub in hubs.all {
            let counts = try? await hub.eventLoop.submit { (hub.metrics.committed, hub.metrics.delivered) }.get()
            totals.sent += counts?.0 ?? 0
            totals.delivered += counts?.1 ?? 0
        }
        return totals
    }

    private func keepLooking() async {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do throws(RedisError) {
                    _ = try await self.stores.redis.send("PING")
                    self.services.redisAnswered()
                } catch {
                    self.hear(error)
                }
                try? await Task.sleep(for: Self.pause)
            }
        }
    }

    /// Redis that refuses something is there.
    private func hear(_ error: RedisError) {
        if case .server = error.code { services.redisAnswered() } else { services.redisFailed() }
    }

    private var name: String { services.configuration.name }

    private var nameIsTaken: Settings.Problem {
        Settings.Problem(
            "Another gateway named \(name) is running. Give each a name of its own: --name or PARLEY_NAME."
        )
    }
}
