public import Logging
import NIOCore
import NIOPosix
import PostgresClient
import RedisClient

/// `parley check-config --connect`: whether the stores are there, and run as Parley needs them.
public struct StoreCheck {
    /// What was found, a line each.
    public private(set) var found: [String] = []
    public private(set) var problems: [String] = []

    private let settings: Settings
    private let logger: Logger

    public init(settings: Settings, logger: Logger) {
        self.settings = settings
        self.logger = logger
    }

    public mutating func run() async {
        let durable = [("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "noeviction")]
        await checkRedis("PARLEY_REDIS_URL", settings.redisURL, needed: durable)
        if let url = settings.volatileRedisURL { await checkRedis("PARLEY_REDIS_VOLATILE_URL", url, needed: []) }
        if let url = settings.suggestRedisURL { await checkRedis("PARLEY_REDIS_SUGGEST_URL", url, needed: []) }
        await checkPostgres()
    }

    private mutating func checkRedis(_ variable: String, _ url: String, needed: [(name: String, value: String)]) async {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        do {
            var configuration = try RedisConfiguration(url: url)
            configuration.connectionsPerLoop = 1
            let redis = try RedisClient(configuration: configuration, eventLoops: [group.next()], logger: logger)
            do {
                try await redis.start(within: .seconds(5))
                let info = try await redis.send("INFO", "server").string ?? ""
                let label = "redis_version:"
                let version = info.split(whereSeparator: \.isNewline).first { $0.hasPrefix(label) }?.dropFirst(
                    label.count
                )
                found.append("\(variable): Redis \(version ?? "of no version") at \(configuration.endpoint)")
                for (name, value) in needed {
                    let answer = try await redis.send("CONFIG", "GET", name).array ?? []
                    judge(
                        variable,
                        name,
                        answer.last?.string ?? "",
                        isRight: { $0 == value },
                        "\(value) (Ops/redis.conf)"
                    )
                }
            } catch {
                problems.append("\(variable): \(error.message)")
            }
            await redis.close()
        } catch {
            problems.append("\(variable): \(error.message)")
        }
        try? await group.shutdownGracefully()
    }

    private mutating func checkPostgres() async {
        let variable = "PARLEY_POSTGRES_URL"
        let postgres = PostgresPool(configuration: settings.postgres, logger: logger)
        do {
            let query: PostgresQuery = """
                SELECT current_setting('server_version'), current_setting('fsync'),
                    current_setting('synchronous_commit'), current_setting('full_page_writes')
                """
            let rows = try await postgres.query(query).decode((String, String, String, String).self)
            guard let (version, fsync, commit, pages) = rows.first else { return }
            found.append("\(variable): PostgreSQL \(version)")
            for (name, value) in [("fsync", fsync), ("synchronous_commit", commit), ("full_page_writes", pages)] {
                judge(variable, name, value, isRight: { $0 != "off" }, "on (Ops/postgresql.conf)")
            }
            let schema = try await SchemaMigrations.version(of: postgres)
            if schema < SchemaMigrations.newest {
                problems.append("\(variable): \(SchemaMigrations.needsMigration(from: schema))")
            } else {
                found.append("\(variable): schema \(schema), needed is \(SchemaMigrations.newest)")
            }
        } catch {
            problems.append("\(variable): \(error.message)")
        }
        await postgres.shutdown()
    }

    private mutating func judge(
        _ variable: String,
        _ name: String,
        _ value: String,
        isRight: (String) -> Bool,
        _ needed: String
    ) {
        if isRight(value) {
            found.append("\(variable): \(name) is \(value)")
        } else {
            problems.append("\(variable): \(name) is \(value.isEmpty ? "unknown" : value), and must be \(needed)")
        }
    }
}
