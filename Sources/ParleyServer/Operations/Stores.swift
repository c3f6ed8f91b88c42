import Logging
import NIOCore
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient

/// A process's connections to Redis and PostgreSQL, and what is built directly on them.
struct Stores: Sendable {
    let redis: RedisClient
    /// For what may be lost, rate limits too. The same where there is no other.
    let volatile: RedisClient
    /// For lists of suggestions. The same where there is no other.
    let suggest: RedisClient
    let postgres: PostgresPool
    let epochs: EpochKeeper
    let positions: ArchivePositions
    let history: History
    /// Of the connections.
    let metrics: [any MetricsSource]

    /// How long a store may take to answer when a process starts.
    private static let patience = Duration.seconds(20)

    /// Connects to both.
    /// - Throws: `Settings.Problem` that names what could not be reached, and how to say where it is.
    static func open(_ settings: Settings, name: String, eventLoops: [any EventLoop], logger: Logger) async throws
        -> Stores
    {
        var postgresConfiguration = settings.postgres
        postgresConfiguration.applicationName = name
        let statements = StatementTimes()
        postgresConfiguration.onStatement = { statements.record($0) }
        let postgres = PostgresPool(configuration: postgresConfiguration, logger: logger)
        try await waitFor(postgres, logger)

        let positions = ArchivePositions(postgres: postgres)
        let epochs = EpochKeeper(archive: positions, logger: logger)
        let redis: RedisClient
        let volatile: RedisClient
        let suggest: RedisClient
        do {
            var configuration = try RedisConfiguration(url: settings.redisURL)
            configuration.clientName = name
            configuration.connectionsPerLoop = settings.redisConnections
            redis = try RedisClient(
                configuration: configuration,
                eventLoops: eventLoops,
                logger: logger,
                prepare: {
                    try await epochs.prepare($0)
                    await Dashboard.offer(on: $0, logger: logger)
                }
            )
            try await redis.start(within: .nanoseconds(Int64(Self.patience / .nanoseconds(1))))
            func other(_ url: String?) throws(RedisError) -> RedisClient {
                guard let url, url != settings.redisURL else { return redis }
                var configuration = try RedisConfiguration(url: url)
                configuration.clientName = name
                configuration.connectionsPerLoop = 1
                let client = try RedisClient(
                    configuration: configuration,
                    eventLoops: eventLoops,
                    logger: logger,
                    prepare: {
                        try await RedisFunctions.library.ensure(on: $0)
                        await Dashboard.offer(on: $0, logger: logger)
                    }
                )
                // Those alone who use it wait for it.
                client.start()
                return client
            }
            volatile = try other(settings.volatileRedisURL)
            suggest =
                settings.suggestRedisURL == settings.volatileRedisURL ? volatile : try other(settings.suggestRedisURL)
        } catch {
            throw Settings.Problem("Redis cannot be used: \(error.message). Set PARLEY_REDIS_URL.")
        }
        let commitLog = CommitLog(redis: redis)
        return Stores(
            redis: redis,
            volatile: volatile,
            suggest: suggest,
            postgres: postgres,
            epochs: epochs,
            positions: positions,
            history: History(postgres: postgres, commitLog: commitLog, positions: positions),
            metrics: eventLoops.map { loop in
                var connections = redis.connections(on: loop)
                if volatile !== redis { connections += volatile.connections(on: loop) }
                if suggest !== redis, suggest !== volatile { connections += suggest.connections(on: loop) }
                return RedisMetrics(eventLoop: loop, connections: connections)
            } + [PostgresMetrics(pool: postgres, limit: postgresConfiguration.connections, times: statements)]
        )
    }

    private static func waitFor(_ postgres: PostgresPool, _ logger: Logger) async throws {
        let deadline = ContinuousClock.now + patience
        while true {
            do {
                let version = try await SchemaMigrations.version(of: postgres)
                guard version >= SchemaMigrations.newest else {
                    throw Settings.Problem(SchemaMigrations.needsMigration(from: version))
                }
                return
            } catch let error as PostgresError {
                guard ContinuousClock.now < deadline else {
                    throw Settings.Problem(
                        "PostgreSQL cannot be used: \(error.message). Set PARLEY_POSTGRES_URL."
                    )
                }
                logger.warning("waiting for PostgreSQL", metadata: ["error": "\(error.message)"])
                try await Task.sleep(for: .seconds(1))
            }
        }
    }

    func fanOut(_ commit: CommitConfiguration, logger: Logger) -> FanOut {
        FanOut(redis: redis, epochs: epochs, queueLimits: commit.queueLimits, logger: logger)
    }

    func groups(_ commit: CommitConfiguration, logger: Logger) -> GroupOutbox {
        GroupOutbox(
            store: GroupStore(postgres: postgres),
            redis: redis,
            history: history,
            epochs: epochs,
            commit: commit,
            fanOut: fanOut(commit, logger: logger)
        )
    }

    func presence(_ terms: PresenceTerms, logger: Logger) -> Presence {
        Presence(terms: terms, redis: redis, volatile: volatile, postgres: postgres, logger: logger)
    }

    func relations(_ commit: CommitConfiguration) -> RelationOutbox {
        RelationOutbox(
            store: RelationStore(postgres: postgres),
            redis: redis,
            epochs: epochs,
            queueCap: commit.queueCap
        )
    }

    /// A capability that holds something of users joins one of the lists.
    func accountDeletion(_ groups: GroupOutbox, _ relations: RelationOutbox) -> AccountDeletion {
        AccountDeletion(
            store: AccountStore(pool: postgres),
            revocations: RedisLoginRevocations(redis: redis),
            partings: [relations.endAll],
            departures: [
                DirectFarewell(postgres: postgres, redis: redis).userIsGone,
                GroupFarewell(outbox: groups).userIsGone,
                // At the end: to leave a conversation may put something into the queue.
                { user in
                    _ = try await redis.send(PushCalls.enrol([user.description], false), repeatable: true)
                    let keys = [Keys.queue(user), Keys.user(user), Keys.unread(user)]
                    _ = try await redis.send(RedisCommand(["UNLINK"] + keys), repeatable: true)
                },
                { user in _ = try await redis.send(PresenceCalls.forget(user), repeatable: true) },
            ]
        )
    }

    /// Where the registry of gateways is, without a password; nil where it is on the same Redis as all else.
    var registryEndpoint: String? { volatile === redis ? nil : volatile.configuration.endpoint }

    func close() async {
        await redis.close()
        if volatile !== redis { await volatile.close() }
        if suggest !== redis, suggest !== volatile { await suggest.close() }
        await postgres.shutdown()
    }

    /// What does not answer, by name.
    func missing() async -> [String] {
        var missing: [String] = []
        if (try? await redis.send("PING")) == nil { missing.append("Redis") }
        if (try? await postgres.query("SELECT 1")) == nil { missing.append("PostgreSQL") }
        return missing
    }
}
