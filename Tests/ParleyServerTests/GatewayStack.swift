import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import NIOPosix
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient
import TestSupport

@testable import ParleyServer

/// What a gateway process holds, without its port: one event loop with its hub, on stores of one test's own.
struct GatewayStack: Sendable {
    let redis: PrivateRedis
    let client: RedisClient
    let services: GatewayServices
    let hub: SessionHub
    let accounts: Accounts
    let clock = Clock()
    private let api: TestAPI

    /// - Parameter commandTimeout: Redis's. So long that nothing is given up because the machine is late.
    static func with(
        _ configuration: GatewayConfiguration = GatewayConfiguration(),
        commandTimeout: TimeAmount = .seconds(60),
        _ body: (GatewayStack) async throws -> Void
    ) async throws {
        let redis = try await PrivateRedis()
        let database = try await PrivatePostgres.database()
        let pool = PostgresPool(
            configuration: PostgresConfiguration(url: database, connections: 4, acquireTimeout: .seconds(60)),
            logger: Self.logger
        )
        _ = try await Migrator(pool: pool).migrate(SchemaMigrations.all)
        let positions = ArchivePositions(postgres: pool)
        let epochs = EpochKeeper(archive: positions, logger: Self.logger)
        var redisConfiguration = try RedisConfiguration(url: redis.url)
        redisConfiguration.commandTimeout = commandTimeout
        let client = try RedisClient(
            configuration: redisConfiguration,
            eventLoops: [MultiThreadedEventLoopGroup.singleton.next()],
            logger: Self.logger,
            prepare: { try await epochs.prepare($0) }
        )
        let stack: GatewayStack
        let outcome: Result<Void, any Error>
        do {
            try await client.start(within: .seconds(30))
            stack = GatewayStack(redis, client, pool, epochs, positions, configuration)
            stack.hub.start()
            do { outcome = .success(try await body(stack)) } catch { outcome = .failure(error) }
        } catch {
            await client.close()
            await pool.shutdown()
            throw error
        }
        await stack.hub.close()
        await client.close()
        await pool.shutdown()
        try await stack.accounts.hasher.shutdown()
        try outcome.get()
    }

    private static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private init(
        _ redis: PrivateRedis,
        _ client: RedisClient,
        _ pool: PostgresPool,
        _ epochs: EpochKeeper,
        _ positions: ArchivePositions,
        _ configuration: GatewayConfiguration
    ) {
        self.redis = redis
        self.client = client
        let commit = CommitConfiguration()
        let history = History(postgres: pool, commitLog: CommitLog(redis: client), positions: positions)
        let clock = clock
        let fanOut = FanOut(redis: client, epochs: epochs, queueLimits: commit.queueLimits, logger: Self.logger)
        let groups = GroupOutbox(
            store: GroupStore(postgres: pool),
            redis: client,
            history: history,
            epochs: epochs,
            commit: commit,
            fanOut: fanOut
        )
        services = GatewayServices(
            configuration: configuration,
            commit: commit,
            redis: client,
            epochs: epochs,
            conversations: ConversationStore(
                postgres: pool,
                redis: client,
                history: history,
                epochs: epochs,
                groups: groups,
                groupHistory: GroupConfiguration().history
            ),
            history: history,
            fanOut: fanOut,
            tokens: AccessTokens(keys: .ephemeral(), now: { clock.milliseconds }),
            acknowledger: Acknowledger(redis: client, positions: positions),
            origins: OriginList([String]()),
            registry: GatewayRegistry(redis: client),
            presence: Presence(
                terms: configuration.presenceTerms,
                redis: client,
                volatile: client,
                postgres: pool,
                logger: Self.logger
            ),
            logger: Self.logger
        )
        hub = SessionHub(eventLoop: client.connections[0].eventLoop, services: services)
        accounts = Accounts(
            store: AccountStore(pool: pool),
            hasher: PasswordHasher(configuration: .init(cost: .cheap, threads: 1)),
            tokens: services.tokens,
            revocations: RedisLoginRevocations(redis: client)
        )
        let router = Router(context: ParleyRequestContext.self)
        router.add(middleware: ProblemMiddleware())
        AccountRoutes(accounts: accounts).add(to: router)
        DeviceRoutes(accounts: accounts, redis: client).add(to: router)
        MessageRoutes(services: services, authenticator: accounts.authenticator).add(to: router)
        api = TestAPI(router: router)
    }

    /// Somebody who signed up.
    struct Person: Sendable {
        let id: UserID
        let token: String
        let identity: Identity
    }

    func person(_ name: String) async throws -> Person {
        let body = #"{"username":"\#(name)","password":"password-of-\#(name)"}"#
        let answer = try await api.call(.post, "/v1/signup", bytes: Array(body.utf8))
        let session: SessionAnswer = try answer.decode()
        guard let id = UserID(session.user.id), let identity = services.tokens.verify(session.access_token) else {
            preconditionFailure("no such person: \(answer.text)")
        }
        return Person(id: id, token: session.access_token, identity: identity)
    }

    func call(_ method: HTTPRequest.Method, _ path: String, token: String? = nil, _ body: String = "") async throws
        -> TestAPI.Answer
    {
        let headers: HTTPFields = token.map { [.authorization: "Bearer \($0)"] } ?? [:]
        return try await api.call(method, path, headers: headers, bytes: Array(body.utf8))
    }

    func post(_ path: String, by person: Person, key: String? = nil, _ body: String) async throws -> TestAPI.Answer {
        try await post(path, by: person, key: key, bytes: Array(body.utf8))
    }

    func post(_ path: String, by person: Person, key: String?, bytes: [UInt8]) async throws -> TestAPI.Answer {
        try await call(.post, path, by: person, key: key, bytes: bytes)
    }

    func call(_ method: HTTPRequest.Method, _ path: String, by person: Person, key: String?, bytes: [UInt8])
        async throws -> TestAPI.Answer
    {
        var headers: HTTPFields = [.authorization: "Bearer \(person.token)"]
        if let key { headers[HTTPField.Name("Idempotency-Key")!] = key }
        return try await api.call(method, path, headers: headers, bytes: bytes)
    }

    /// Sends a message from one to the other.
    @discardableResult
    func send(_ body: String, from sender: Person, to other: Person, cid: ClientMessageID? = nil) async throws
        -> TestAPI.Answer
    {
        let cid = cid ?? .random(unixMilliseconds: WallClock.milliseconds())
        let path = "/v1/conversations/\(ConversationID.direct(sender.id, other.id))/messages"
        return try await post(path, by: sender, key: cid.description, #"{"body":"\#(body)"}"#)
    }

    /// Polls; `query` is what stands behind `?`.
    func poll(_ person: Person, _ query: String, on channel: any Channel) async throws -> SyncAnswer {
        try await Poll.ask(SyncQuestion(query: query, of: person.identity), hub, services, on: channel)
    }

    /// A connection on the hub's event loop, of a client that waits. (It leads to Redis, which does not matter.)
    func connection() async throws -> any Channel {
        try await ClientBootstrap(group: hub.eventLoop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(ConnectionEndHandler())
            }
        }.connect(host: "127.0.0.1", port: redis.port).get()
    }

    /// Gateways that hear what is published for a user.
    func listeners(_ person: Person) async throws -> Int64? {
        try await client.send("PUBSUB", "NUMSUB", Keys.channel(person.id)).array?.last?.integer
    }
}

extension SyncQuestion {
    /// What stands behind `?`.
    init(query: String, of identity: Identity) throws(HTTPProblem) {
        let head = HTTPRequest(method: .get, scheme: "http", authority: "test", path: "/v1/sync?\(query)")
        let request = Request(head: head, body: RequestBody(buffer: ByteBuffer()))
        try self.init(request.uri.queryParameters, of: identity)
    }
}
