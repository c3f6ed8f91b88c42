import Logging
import NIOCore
import NIOPosix
import ParleyCore
import PostgresClient
import RedisClient
import TestSupport

@testable import ParleyServer

/// A Redis and a database of one test's own, with what writes lists of suggestions into them.
struct SuggestStack: Sendable {
    let server: PrivateRedis
    let redis: RedisClient
    let postgres: PostgresPool
    let writer: GenerationWriter
    var store: SuggestStore { writer.store }

    static func with(_ body: (SuggestStack) async throws -> Void) async throws {
        let stack = try await SuggestStack()
        let outcome: Result<Void, any Error>
        do { outcome = .success(try await body(stack)) } catch { outcome = .failure(error) }
        await stack.redis.close()
        await stack.postgres.shutdown()
        try outcome.get()
    }

    private init() async throws {
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        server = try await PrivateRedis()
        postgres = PostgresPool(
            configuration: PostgresConfiguration(
                url: try await PrivatePostgres.database(),
                connections: 4,
                acquireTimeout: .seconds(60)
            ),
            logger: logger
        )
        _ = try await Migrator(pool: postgres).migrate(SchemaMigrations.all)
        var configuration = try RedisConfiguration(url: server.url)
        configuration.commandTimeout = .seconds(30)
        redis = try RedisClient(
            configuration: configuration,
            eventLoops: [MultiThreadedEventLoopGroup.singleton.next()],
            logger: logger,
            prepare: { try await RedisFunctions.library.ensure(on: $0) }
        )
        try await redis.start(within: .seconds(20))
        writer = GenerationWriter(store: SuggestStore(postgres: postgres), redis: redis, logger: logger)
    }

    /// Makes a list and puts it in force.
    func publish(_ queries: [String: Double], _ locale: SuggestLocale = .fallback, map: SuggestShardMap? = nil)
        async throws
        -> SuggestGeneration
    {
        let base = try await store.current(of: locale)?.id
        let entries = queries.map { SuggestEntry(display: $0.key, weight: $0.value) }
        let generation = try await writer.build(entries, for: locale, map: map, base: base, source: "test")
        try await writer.flip(to: generation)
        return generation
    }

    /// Keys of lists in Redis.
    func keys() async throws -> [String] {
        try await server.command("--raw", "KEYS", "ac:*").split(separator: "\n").map { String($0) }.sorted()
    }
}
