public import Logging
import NIOCore
import NIOPosix
import ParleyCore
import PostgresClient
import RedisClient

/// What the commands of `parley typeahead` work with: it connects to the stores that lists of suggestions need.
public struct TypeaheadProcess: Sendable {
    let writer: GenerationWriter
    let settings: Settings
    let postgres: PostgresPool
    let redis: RedisClient
    let logger: Logger

    var desk: BuilderDesk { BuilderDesk(postgres: postgres) }

    /// Runs `body`, and closes the connections.
    /// - Throws: `Settings.Problem` for a store that is not there, and what `body` throws.
    public static func with(
        _ settings: Settings,
        logger: Logger,
        _ body: (TypeaheadProcess) async throws -> Void
    ) async throws {
        let process = try await TypeaheadProcess(settings, logger)
        let outcome: Result<Void, any Error>
        do { outcome = .success(try await body(process)) } catch { outcome = .failure(error) }
        await process.redis.close()
        await process.postgres.shutdown()
        do {
            try outcome.get()
        } catch let error as PostgresError {
            throw Settings.Problem("PostgreSQL: \(error.message).")
        } catch let error as RedisError {
            throw Settings.Problem("Redis: \(error.message).")
        } catch let refusal as GenerationWriter.Refusal {
            throw Settings.Problem("\(refusal).")
        }
    }

    private init(_ settings: Settings, _ logger: Logger) async throws {
        self.settings = settings
        self.logger = logger
        var configuration = settings.postgres
        configuration.applicationName = "parley-typeahead"
        configuration.statementTimeout = .seconds(300)
        postgres = PostgresPool(configuration: configuration, logger: logger)
        do {
            let version = try await SchemaMigrations.version(of: postgres)
            guard version >= SchemaMigrations.newest else {
                throw Settings.Problem(SchemaMigrations.needsMigration(from: version))
            }
        } catch let error as PostgresError {
            throw Settings.Problem("PostgreSQL cannot be used: \(error.message). Set PARLEY_POSTGRES_URL.")
        }
        do {
            var configuration = try RedisConfiguration(url: settings.suggestRedisURL ?? settings.redisURL)
            configuration.clientName = "typeahead"
            configuration.connectionsPerLoop = 1
            configuration.commandTimeout = .seconds(30)
            redis = try RedisClient(
                configuration: configuration,
                eventLoops: [MultiThreadedEventLoopGroup.singleton.next()],
                logger: logger,
                prepare: { try await RedisFunctions.library.ensure(on: $0) }
            )
            try await redis.start(within: .seconds(10))
        } catch {
            throw Settings.Problem("Redis cannot be used: \(error.message). Set PARLEY_REDIS_SUGGEST_URL.")
        }
        writer = GenerationWriter(store: SuggestStore(postgres: postgres), redis: redis, logger: logger)
    }

    /// Makes the lists of a file the ones in force.
    ///
    /// - Parameters:
    ///   - progress: told of what is done, for people.
    /// - Returns: a line for each list.
    public func load(_ file: SuggestImport, progress: @escaping @Sendable (String) -> Void) async throws -> [String] {
        var lines: [String] = []
        for (locale, entries) in file.lists.sorted(by: { $0.key < $1.key }) {
            // What is built from now on is made of it too.
            try await QuerySources(postgres: postgres).replace(locale, by: entries)
            let generation = try await publish(entries, locale, progress)
            try await writer.retireOld(of: locale)
            lines.append("\(locale): \(entries.count) queries, generation \(generation.id) is in force")
        }
        // What was gathered is to be added.
        if try await !QuerySources(postgres: postgres).sizes().isEmpty { _ = try await desk.ask() }
        return lines
    }

    private func publish(
        _ entries: [SuggestEntry],
        _ locale: SuggestLocale,
        _ progress: @escaping @Sendable (String) -> Void
    ) async throws -> SuggestGeneration {
        var attempts = 0
        while true {
            let base = try await writer.store.current(of: locale)?.id
            let generation = try await writer.build(entries, for: locale, base: base, source: "import") {
                progress("\(locale): \($0.rawValue) \($1) of \($2)")
            }
            do {
                try await writer.flip(to: generation)
                return generation
            } catch let refusal as GenerationWriter.Refusal {
                // A worker built one meanwhile, perhaps without this.
                attempts += 1
                if attempts == 3 { throw refusal }
            }
        }
    }
}
