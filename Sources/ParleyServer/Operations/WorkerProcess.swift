import Hummingbird
public import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import UnixSignals

/// `parley worker`: archives the commit log, finishes fan-outs, changes of groups and between users, and deletions, keeps
/// partitions ahead of time, and puts out the lights of those who are gone.
public struct WorkerProcess {
    private let settings: Settings
    private let logger: Logger

    public init(settings: Settings, logger: Logger) {
        self.settings = settings
        self.logger = logger
    }

    /// Works until SIGTERM or SIGINT.
    /// - Throws: `Settings.Problem` when it cannot start.
    public func run() async throws {
        let name = settings.name(default: "worker-1")
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let stores = try await Stores.open(
            settings,
            name: name,
            eventLoops: Array(group.makeIterator()),
            logger: logger
        )
        let partitions = PartitionKeeper(
            postgres: stores.postgres,
            period: try settings.partitionPeriod(),
            retentionDays: try settings.retentionDays(),
            logger: logger
        )
        try await partitions.ensure()
        let commit = try settings.commit()
        let archiver = Archiver(
            redis: stores.redis,
            postgres: stores.postgres,
            fanOut: stores.fanOut(commit, logger: logger),
            worker: name,
            logger: logger
        )
        let groups = stores.groups(commit, logger: logger)
        let sweeper = GroupSweeper(outbox: groups, logger: logger)
        let changes = stores.relations(commit)
        let relations = RelationSweeper(outbox: changes, logger: logger)
        let deletions = DeletionSweeper(deletion: stores.accountDeletion(groups, changes), logger: logger)
        let presence = stores.presence(try settings.gateway().presenceTerms, logger: logger)
        let lights = PresenceSweeper(presence: presence, logger: logger)
        let registration = WorkerRegistration(
            name: name,
            status: archiver.status,
            redis: stores.redis,
            postgres: stores.postgres,
            registry: stores.registryEndpoint
        )
        var services: [any Service] = [archiver, partitions, sweeper, relations, deletions, lights, registration]
        let healthPort = try settings.healthPort()
        if let port = healthPort {
            let router = Router(context: ParleyRequestContext.self)
            router.add(middleware: ProblemMiddleware())
            HealthRoutes { await stores.missing() }.add(to: router)
            services.append(
                Application(
                    router: router,
                    configuration: .init(address: .hostname(settings.bindAddress, port: port), serverName: "parley"),
                    eventLoopGroupProvider: .shared(group),
                    logger: logger
                )
            )
        }
        logger.notice("worker starts", metadata: ["name": "\(name)"])
        let work = ServiceGroup(
            configuration: .init(services: services, gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
        )
        try await Settings.explainingTakenPort(healthPort ?? 0, "PARLEY_HEALTH_PORT") { try await work.run() }
        await stores.close()
        try await group.shutdownGracefully()
    }
}
