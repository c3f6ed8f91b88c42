import Hummingbird
import HummingbirdCore
public import Logging
import NIOCore
import NIOPosix
import RedisClient
import ServiceLifecycle
import UnixSignals

/// `parley gateway`: one port for HTTP and WebSocket.
public struct GatewayProcess {
    private let settings: Settings
    private let files: OpenFiles
    private let logger: Logger

    /// - Throws: `Settings.Problem` when the process may open too few files.
    public init(settings: Settings, logger: Logger) throws(Settings.Problem) {
        OpenFiles.raiseLimit()
        files = try OpenFiles(for: settings)
        if let warning = files.warning { logger.warning("\(warning)") }
        var settings = settings
        settings.gateway.capacity = files.capacity
        self.settings = settings
        self.logger = logger
    }

    /// Serves until SIGTERM or SIGINT, then drains.
    /// - Throws: `Settings.Problem` when it cannot start.
    public func run() async throws {
        guard let keys = settings.tokenKeys else { preconditionFailure("a gateway's settings have token keys") }
        let configuration = settings.gateway
        let group = MultiThreadedEventLoopGroup(numberOfThreads: settings.threads)
        let eventLoops = Array(group.makeIterator())
        let stores = try await Stores.open(settings, name: configuration.name, eventLoops: eventLoops, logger: logger)
        let hasher = PasswordHasher(configuration: .init(cost: settings.passwordCost))

        let admission = Admission(settings.admission, redis: stores.volatile)
        let suggest = SuggestHub(
            settings.suggest,
            eventLoops: eventLoops,
            redis: stores.suggest,
            postgres: stores.postgres,
            logger: logger
        )
        await suggest.look()
        let services = makeServices(keys, stores, admission, suggest)
        let hubs = SessionHubs(eventLoops.map { SessionHub(eventLoop: $0, services: services) })
        for hub in hubs.all { hub.start() }
        let lag = EventLoopLag(eventLoops)
        let registration = Registration(services: services, stores: stores, hubs: hubs, lag: lag)
        try await registration.claim()
        let revocations = RedisLoginRevocations(redis: stores.redis)
        let accounts = Accounts(
            store: AccountStore(pool: stores.postgres),
            hasher: hasher,
            tokens: services.tokens,
            revocations: revocations,
            admission: admission
        )
        let relations = RelationActions(
            outbox: stores.relations(settings.commit),
            limits: settings.friends,
            authenticator: accounts.authenticator
        )
        let router = makeRouter(services, stores, accounts, relations, hubs, lag)
        let filter = FilterFeed(
            store: RuleStore(postgres: stores.postgres),
            redis: stores.suggest,
            name: configuration.name,
            logger: logger
        ) { await suggest.adopt($0) }
        // Before anybody is answered.
        await filter.update()
        let intake = SearchIntake(
            redis: stores.suggest,
            pseudonyms: try await SearchPseudonyms(from: stores.postgres),
            sampling: settings.gathering.sampling
        )
        if configuration.serves != .sockets {
            SearchRoutes(
                intake: intake,
                authenticator: accounts.authenticator,
                admission: admission,
                isPublic: settings.suggest.access == .everybody
            ).add(to: router)
        }
        let parts: [any MetricsSource] = hubs.all + stores.metrics
        let process = ProcessMetrics(role: .gateway, name: configuration.name)
        MetricsRoute(
            sources: parts + [
                GatewayMetrics(services: services), intake, filter, services.http, services.presence.publisher, process,
                services.refusals, lag, suggest,
            ]
        ).add(to: router)
        let application = Application(
            router: router,
            server: HTTPServerBuilder { responder in
                GatewayChannel(responder: responder, services: services, hubs: hubs)
            },
            configuration: .init(
                address: .hostname(settings.bindAddress, port: settings.port),
                serverName: "parley",
                backlog: 4096,
                availableConnectionsDelegate: .maximum(files.connections, logger: logger)
            ),
            services: [
                filter, BacklogGuard(services: services), SessionShedder(services: services, hubs: hubs),
                Overload(services: services, postgres: stores.postgres, hasher: hasher, lag: lag), suggest,
            ],
            onServerRunning: { _ in registration.listens() },
            eventLoopGroupProvider: .shared(group),
            logger: logger
        )
        logger.notice(
            "gateway starts",
            metadata: ["name": "\(configuration.name)", "url": "\(configuration.publicURL)"]
        )
        // They end in the opposite order: the sessions go first, the registry is left last.
        let drain = Drain(services: services, hubs: hubs, registration: registration)
        var lives = ServiceGroupConfiguration(
            services: [
                .init(service: registration, failureTerminationBehavior: .gracefullyShutdownGroup),
                .init(service: application), .init(service: drain),
            ],
            gracefulShutdownSignals: [.sigterm, .sigint],
            logger: logger
        )
        // Whoever takes for ever over a request does not keep the process from its end.
        lives.maximumGracefulShutdownDuration = drain.limit + .seconds(5)
        let processes = ServiceGroup(configuration: lives)
        try await explainingTakenPort(settings.port, "PARLEY_PORT") { try await processes.run() }
        for hub in hubs.all { await hub.close() }
        await stores.close()
        try await hasher.shutdown()
        try await group.shutdownGracefully()
    }

    private func makeServices(
        _ keys: TokenKeys,
        _ stores: Stores,
        _ admission: Admission,
        _ suggest: SuggestHub
    ) -> GatewayServices {
        GatewayServices(
            configuration: settings.gateway,
            commit: settings.commit,
            redis: stores.redis,
            epochs: stores.epochs,
            conversations: ConversationStore(
                postgres: stores.postgres,
                redis: stores.redis,
                history: stores.history,
                epochs: stores.epochs,
                groups: stores.groups(settings.commit, logger: logger),
                groupHistory: settings.groups.history
            ),
            history: stores.history,
            fanOut: stores.fanOut(settings.commit, logger: logger),
            tokens: AccessTokens(keys: keys),
            acknowledger: Acknowledger(redis: stores.redis, positions: stores.positions),
            origins: OriginList(settings.gateway.allowedOrigins),
            registry: GatewayRegistry(redis: stores.volatile),
            presence: stores.presence(settings.gateway.presenceTerms, logger: logger),
            admission: admission,
            suggest: suggest,
            logger: logger
        )
    }

    /// Presence is the first to degrade: it keeps a gateway from being ready where its Redis answers and yet passes nothing
    /// on to this process, not where that Redis is away for all.
    private static func missingPresence(_ stores: Stores, _ hubs: SessionHubs) async -> [String] {
        for hub in hubs.all where await !hub.presence.isHealthy {
            return (try? await stores.volatile.send("PING")) == nil ? [] : ["presence"]
        }
        return []
    }

    private func makeExport(
        _ services: GatewayServices,
        _ accounts: Accounts,
        _ list: ConversationList
    ) -> AccountExport {
        AccountExport(store: accounts.store, history: services.history, redis: services.redis) { conversation, user in
            do {
                let membership = try await services.conversations.membership(of: user, in: conversation)
                let summary = try await list.summary(of: conversation, for: user)
                return AccountExport.Conversation(
                    json: ConversationJSON.one(summary, for: user),
                    firstVisible: membership.firstVisible
                )
            } catch ConversationStore.Refusal.notFound, ConversationStore.Refusal.notMember {
                return nil
            }
        }
    }

    private func makeRouter(
        _ services: GatewayServices,
        _ stores: Stores,
        _ accounts: Accounts,
        _ relations: RelationActions,
        _ hubs: SessionHubs,
        _ lag: EventLoopLag
    ) -> Router<ParleyRequestContext> {
        let router = Router(context: ParleyRequestContext.self)
        router.add(middleware: RequestIDMiddleware())
        router.add(middleware: MetricsMiddleware(metrics: services.http))
        router.add(middleware: CORSMiddleware(origins: services.origins))
        router.add(
            middleware: ProblemMiddleware {
                services.http.refused($1)
                services.refusals.count(Activity($0), $1)
            }
        )
        GatewayRoutes(registry: services.registry).add(to: router)
        SocketRoute(services: services).add(to: router)
        HealthRoutes(lag: lag) {
            var missing = await stores.missing()
            for hub in hubs.all where await !hub.isHealthy { missing.append("subscriptions") }
            missing += await Self.missingPresence(stores, hubs)
            if services.registry.entries.isEmpty { missing.append("registry") }
            // It answers again, and sessions are still refused.
            if services.isCutOff, !missing.contains("Redis") { missing.append("Redis") }
            if services.isDraining { missing.append("draining") }
            return missing
        }.add(to: router)
        guard services.configuration.serves != .sockets else { return router }
        AccountRoutes(accounts: accounts).add(to: router)
        let presence = services.presence
        ProfileRoutes(accounts: accounts) {
            try await relations.mayWriteChanged(of: $0)
        } presenceChanged: {
            try await presence.privacyChanged(of: $0)
        }.add(to: router)
        DeviceRoutes(accounts: accounts, redis: stores.redis).add(to: router)
        PushRoutes(
            store: PushStore(postgres: stores.postgres),
            redis: stores.redis,
            configuration: settings.push,
            authenticator: accounts.authenticator
        ).add(to: router)
        UserRoutes(accounts: accounts) { await presence.lastActive(of: $0, for: $1) }.add(to: router)
        let conversations = services.conversations
        let list = ConversationList(conversations: conversations)
        let deletion = stores.accountDeletion(conversations.groups, relations.outbox)
        DeletionRoute(accounts: accounts, deletion: deletion).add(to: router)
        ExportRoute(accounts: accounts, export: makeExport(services, accounts, list)).add(to: router)
        ConversationRoutes(
            conversations: conversations,
            list: list,
            history: services.history,
            authenticator: accounts.authenticator
        ).add(to: router)
        MessageRoutes(services: services, authenticator: accounts.authenticator).add(to: router)
        SyncRoute(services: services, hubs: hubs).add(to: router)
        GroupRoutes(
            outbox: conversations.groups,
            list: list,
            memberLimit: settings.groups.memberLimit,
            authenticator: accounts.authenticator
        ).add(to: router)
        FriendRoutes(relations: relations).add(to: router)
        BlockRoutes(relations: relations).add(to: router)
        MuteRoutes(
            conversations: services.conversations,
            queueCap: services.commit.queueCap,
            authenticator: accounts.authenticator
        ).add(to: router)
        if let suggest = services.suggest {
            SuggestRoute(hub: suggest, admission: services.admission, authenticator: accounts.authenticator).add(
                to: router
            )
        }
        PageRoutes().add(to: router)
        return router
    }
}
