import Hummingbird
public import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import UnixSignals

/// `parley worker`: what no client waits for, in the roles that it is given.
public struct WorkerProcess {
    public enum Role: String, Sendable, CaseIterable {
        /// Archives the commit log, finishes fan-outs, changes of groups and between users, and deletions, and keeps
        /// partitions ahead of time.
        case archiver
        /// Puts out the lights of those who are gone.
        case presence
        /// Tells the devices of those who are not there.
        case push
        /// Counts what is searched for, and makes lists of suggestions of it.
        case typeahead
    }

    private let settings: Settings
    private let logger: Logger

    public init(settings: Settings, logger: Logger) {
        self.settings = settings
        self.logger = logger
    }

    /// Works until SIGTERM or SIGINT.
    /// - Throws: `Settings.Problem` when it cannot start.
    public func run() async throws {
        let name = settings.name ?? "worker-1"
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let lag = EventLoopLag(Array(group.makeIterator()))
        let stores = try await Stores.open(
            settings,
            name: name,
            eventLoops: Array(group.makeIterator()),
            logger: logger
        )
        let status = WorkerStatus()
        let roles = settings.roles.map(\.rawValue).sorted().joined(separator: ",")
        var services: [any Service] = [
            WorkerRegistration(
                name: name,
                roles: roles,
                status: status,
                redis: stores.redis,
                postgres: stores.postgres,
                registry: stores.registryEndpoint,
                suggest: settings.roles.contains(.typeahead) ? stores.suggest : nil
            )
        ]
        let archive = ArchiveMetrics(redis: stores.redis, postgres: stores.postgres, count: ArchiveCount())
        let process = ProcessMetrics(role: .worker, name: name)
        let (searches, builds) = (SearchProgress(), BuildCount())
        var metrics: [any MetricsSource] = stores.metrics + [archive, process, lag]
        if settings.roles.contains(.archiver) { services += try await archiving(stores, name, status, archive.count) }
        if settings.roles.contains(.presence) {
            let presence = stores.presence(settings.gateway.presenceTerms, logger: logger)
            services.append(PresenceSweeper(presence: presence, logger: logger))
            metrics.append(presence.publisher)
        }
        let http = try PushHTTPClient(eventLoop: group.next(), configuration: settings.push.http)
        if settings.roles.contains(.push) {
            let sender = PushSender(settings.push.providers, http: http, logger: logger)
            services.append(
                PushWorker(
                    name: name,
                    store: PushStore(postgres: stores.postgres),
                    redis: stores.redis,
                    epochs: stores.epochs,
                    sender: sender,
                    configuration: settings.push,
                    logger: logger
                )
            )
            metrics.append(PushMetrics(sender: sender, redis: stores.redis))
        }
        if settings.roles.contains(.typeahead) {
            services += try await gathering(stores, name, searches)
            let writer = GenerationWriter(
                store: SuggestStore(postgres: stores.postgres),
                redis: stores.suggest,
                logger: logger
            )
            services.append(
                BuildKeeper(
                    builder: SuggestBuilder(writer: writer, configuration: settings.building, logger: logger),
                    desk: BuilderDesk(postgres: stores.postgres),
                    worker: name,
                    count: builds,
                    logger: logger
                )
            )
            metrics.append(SearchMetrics(redis: stores.suggest, progress: searches))
            metrics.append(builds)
        }
        if let port = settings.healthPort {
            let router = Router(context: ParleyRequestContext.self)
            router.add(middleware: ProblemMiddleware())
            HealthRoutes(lag: lag) { await stores.missing() }.add(to: router)
            MetricsRoute(sources: metrics).add(to: router)
            services.append(
                Application(
                    router: router,
                    configuration: .init(address: .hostname(settings.bindAddress, port: port), serverName: "parley"),
                    eventLoopGroupProvider: .shared(group),
                    logger: logger
                )
            )
        }
        logger.notice("worker starts", metadata: ["name": "\(name)", "roles": "\(roles)"])
        let work = ServiceGroup(
            configuration: .init(services: services, gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
        )
        try await explainingTakenPort(settings.healthPort ?? 0, "PARLEY_HEALTH_PORT") { try await work.run() }
        await http.close()
        await stores.close()
        try await group.shutdownGracefully()
    }

    private func gathering(_ stores: Stores, _ name: String, _ progress: SearchProgress) async throws -> [any Service] {
        let configuration = settings.gathering
        let counts = QueryCounts(postgres: stores.postgres)
        let gate = PrivacyGate(
            redis: stores.suggest,
            postgres: stores.postgres,
            pseudonyms: try await SearchPseudonyms(from: stores.postgres),
            enough: configuration.gate,
            window: configuration.gateWindow
        )
        return [
            SearchReader(
                redis: stores.suggest,
                counts: counts,
                gate: gate,
                trends: Trends(redis: stores.suggest, halfLife: configuration.trendHalfLife),
                leases: SearchLeases(postgres: stores.postgres, worker: name),
                interval: .nanoseconds(configuration.flush.nanoseconds),
                progress: progress,
                logger: logger
            ),
            CountKeeper(counts: counts, retentionDays: configuration.retentionDays, logger: logger),
        ]
    }

    private func archiving(
        _ stores: Stores,
        _ name: String,
        _ status: WorkerStatus,
        _ count: ArchiveCount
    ) async throws -> [any Service] {
        let partitions = PartitionKeeper(
            postgres: stores.postgres,
            period: settings.partitionPeriod,
            retentionDays: settings.retentionDays,
            logger: logger
        )
        try await partitions.ensure()
        let archiver = Archiver(
            redis: stores.redis,
            postgres: stores.postgres,
            fanOut: stores.fanOut(settings.commit, logger: logger),
            worker: name,
            status: status,
            logger: logger,
            count: count
        )
        let groups = stores.groups(settings.commit, logger: logger)
        let relations = stores.relations(settings.commit)
        return [
            archiver, partitions, GroupSweeper(outbox: groups, logger: logger),
            RelationSweeper(outbox: relations, logger: logger),
            DeletionSweeper(deletion: stores.accountDeletion(groups, relations), logger: logger),
        ]
    }
}
