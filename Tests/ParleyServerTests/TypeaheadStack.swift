import Logging
import NIOCore
import NIOPosix
import ParleyWire
import PostgresClient
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// A Redis and a database of one test's own, for what people search for.
struct TypeaheadStack: Sendable {
    let redis: PrivateRedis
    let client: RedisClient
    let postgres: PostgresPool
    let databaseURL: String
    let pseudonyms: SearchPseudonyms

    static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    /// A shard that tests read by themselves.
    static let shard = SearchShard(number: 0)

    static func with(_ body: (TypeaheadStack) async throws -> Void) async throws {
        let redis = try await PrivateRedis()
        let url = try await PrivatePostgres.database()
        let postgres = PostgresPool(
            configuration: PostgresConfiguration(url: url, connections: 4, acquireTimeout: .seconds(60))
        )
        let client = try RedisClient(
            configuration: .patient(redis),
            eventLoops: [MultiThreadedEventLoopGroup.singleton.next()],
            logger: logger,
            prepare: { try await RedisFunctions.library.ensure(on: $0) }
        )
        let outcome: Result<Void, any Error>
        do {
            _ = try await Migrator(pool: postgres).migrate(SchemaMigrations.all)
            try await client.start(within: .seconds(30))
            let stack = TypeaheadStack(
                redis: redis,
                client: client,
                postgres: postgres,
                databaseURL: url,
                pseudonyms: try await SearchPseudonyms(from: postgres)
            )
            outcome = .success(try await body(stack))
        } catch {
            outcome = .failure(error)
        }
        await client.close()
        await postgres.shutdown()
        try outcome.get()
    }

    var gate: PrivacyGate {
        PrivacyGate(redis: client, postgres: postgres, pseudonyms: pseudonyms, enough: 5, window: 3_600_000)
    }

    var trends: Trends { Trends(redis: client, halfLife: 3_600_000) }

    func leases(_ worker: String, duration: Int64 = 60_000) -> SearchLeases {
        SearchLeases(postgres: postgres, worker: worker, duration: duration)
    }

    func reader(_ worker: String = "one") -> SearchReader {
        SearchReader(
            redis: client,
            counts: QueryCounts(postgres: postgres),
            gate: gate,
            trends: trends,
            leases: leases(worker),
            interval: .milliseconds(10),
            progress: SearchProgress(),
            logger: Self.logger
        )
    }

    /// The lease of the test's shard, whoever had it.
    func lease(_ worker: String = "one") async throws -> SearchLeases.Lease {
        _ = try await postgres.query("UPDATE search_shards SET lease_until = 0, owner = NULL WHERE shard = 0")
        return try #require(try await leases(worker).renew([:])[Self.shard])
    }

    /// Puts a search into the test's shard.
    @discardableResult
    func search(_ text: String, by user: UserID? = nil, locale: String = "en", weight: Int64 = 1) async throws -> String
    {
        let pseudonym = user.map(pseudonyms.pseudonym)
        let entry = SearchEntry(text: text, locale: locale, user: pseudonym, weight: weight)
        return try #require(try await client.send(entry.command(for: Self.shard)).string)
    }

    /// How often a query was searched for, what is held included.
    func count(_ query: String) async throws -> Int64 {
        let rows: [Int64] = try await postgres.query(
            "SELECT coalesce(sum(count + held), 0)::bigint FROM query_counts WHERE query = \(query)"
        ).decode(Int64.self)
        return rows.first ?? -1
    }

    func isOpen(_ query: String, locale: String = "en") async throws -> Bool {
        try await postgres.query("SELECT 1::bigint FROM query_gate WHERE locale = \(locale) AND query = \(query)").count
            == 1
    }

    /// What trends, with the weight as of now.
    func trending(_ locale: String = "en") async throws -> [String] {
        try await client.send("ZREVRANGE", Trends.key(locale), "0", "-1").array?.compactMap(\.string) ?? []
    }
}
