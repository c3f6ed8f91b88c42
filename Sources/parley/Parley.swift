import ArgumentParser
import Foundation
import Logging
import ParleyServer

@main
struct Parley: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "parley",
        abstract: "A self-hosted chat backend.",
        subcommands: [Gateway.self, Worker.self, Migrate.self, Top.self]
    )
}

/// What every process takes. Each option can be given as an environment variable instead.
struct CommonOptions: ParsableArguments {
    @Option(help: "Where Redis is: redis[s]://[user:password@]host[:port][/db] (PARLEY_REDIS_URL).")
    var redisURL: String?

    @Option(name: .customLong("postgres-url"), help: "Where PostgreSQL is: postgres://… (PARLEY_POSTGRES_URL).")
    var postgresURL: String?

    @Option(help: "This process's name, unique among the running ones (PARLEY_NAME).")
    var name: String?

    @Option(help: "Address to listen on (PARLEY_BIND).")
    var bind: String?

    @Option(help: "trace, debug, info, notice, warning, error or critical (PARLEY_LOG_LEVEL).")
    var logLevel: String?

    @Option(help: "A file of PARLEY_NAME=value lines (PARLEY_CONFIG_FILE).")
    var configFile: String?

    func settings(_ more: [String: String?] = [:]) throws -> (Settings, Logger) {
        let common: [String: String?] = [
            "PARLEY_REDIS_URL": redisURL, "PARLEY_POSTGRES_URL": postgresURL, "PARLEY_NAME": name, "PARLEY_BIND": bind,
            "PARLEY_LOG_LEVEL": logLevel, "PARLEY_CONFIG_FILE": configFile,
        ]
        let options = common.merging(more) { $1 }.filter { $0.value != nil }
        let settings = try Settings(options: options, environment: ProcessInfo.processInfo.environment)
        var logger = Logger(label: "parley") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = try settings.logLevel()
        return (settings, logger)
    }
}

extension AsyncParsableCommand {
    /// Runs, and turns what a person can mend into one line and exit code 1.
    func explaining(_ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch let problem as Settings.Problem {
            FileHandle.standardError.write(Data("parley: \(problem)\n".utf8))
            throw ExitCode.failure
        }
    }
}

struct Gateway: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Serve clients: HTTP and WebSocket on one port.")

    @OptionGroup var common: CommonOptions

    @Option(help: "Port to listen on (PARLEY_PORT).")
    var port: Int?

    @Option(help: "The base URL that clients reach this gateway at (PARLEY_PUBLIC_URL).")
    var publicURL: String?

    @Option(help: "The zone that this gateway is in (PARLEY_ZONE).")
    var zone: String?

    @Option(help: "Sessions that it may hold (PARLEY_CAPACITY).")
    var capacity: Int?

    @Option(help: "A file with the secrets that sign tokens, base64, one a line (PARLEY_TOKEN_KEY_FILE).")
    var tokenKeyFile: String?

    @Option(help: "Origins of pages that may connect, with commas between (PARLEY_ALLOWED_ORIGINS).")
    var allowedOrigins: String?

    @Option(help: "What a send's answer waits for: committed, replicated or archived (PARLEY_ACK).")
    var ack: String?

    @Option(help: "Event loops (PARLEY_THREADS).")
    var threads: Int?

    func run() async throws {
        try await explaining {
            let (settings, logger) = try common.settings([
                "PARLEY_PORT": port.map(String.init), "PARLEY_PUBLIC_URL": publicURL, "PARLEY_ZONE": zone,
                "PARLEY_CAPACITY": capacity.map(String.init), "PARLEY_TOKEN_KEY_FILE": tokenKeyFile,
                "PARLEY_ALLOWED_ORIGINS": allowedOrigins, "PARLEY_ACK": ack, "PARLEY_THREADS": threads.map(String.init),
            ])
            try await GatewayProcess(settings: settings, logger: logger).run()
        }
    }
}

struct Worker: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Archive messages and finish what was left undone.")

    @OptionGroup var common: CommonOptions

    @Option(help: "Port for /healthz and /readyz; none without it (PARLEY_HEALTH_PORT).")
    var healthPort: Int?

    @Option(help: "Partitions of history by day, week or month (PARLEY_PARTITION).")
    var partition: String?

    @Option(help: "Days of history to keep, at least 7; all of it without (PARLEY_RETENTION_DAYS).")
    var retentionDays: Int?

    func run() async throws {
        try await explaining {
            let (settings, logger) = try common.settings([
                "PARLEY_HEALTH_PORT": healthPort.map(String.init), "PARLEY_PARTITION": partition,
                "PARLEY_RETENTION_DAYS": retentionDays.map(String.init),
            ])
            try await WorkerProcess(settings: settings, logger: logger).run()
        }
    }
}

struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Bring the database's schema to this version.")

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await explaining {
            let (settings, logger) = try common.settings()
            let applied = try await MigrationProcess(settings: settings, logger: logger).run()
            print(
                applied.isEmpty
                    ? "the schema is up to date" : "applied \(applied.map(String.init).joined(separator: ", "))"
            )
        }
    }
}
