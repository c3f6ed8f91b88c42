import ArgumentParser
import Foundation
import Logging
import ParleyServer

@main
struct Parley: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "parley",
        abstract: "A self-hosted chat backend.",
        version: Version.current,
        subcommands: [
            Gateway.self, Worker.self, Migrate.self, Typeahead.self, PushCommand.self, Top.self, CheckConfig.self,
            ConfigReference.self, MetricsReferenceCommand.self,
        ]
    )
}

/// The settings that a command reads, as options. `Setting` knows them; here they only pass through.
struct SettingOptions: ParsableArguments {
    @Argument(parsing: .allUnrecognized, help: ArgumentHelp("Settings, as listed above.", valueName: "--setting value"))
    var settings: [String] = []

    /// - Throws: `ValidationError` for what is no option, `Settings.Problem` for what cannot be.
    func read(for readers: Set<Setting.Reader>) throws -> Settings {
        let options: SettingSource
        do {
            options = try SettingSource.options(settings, for: readers)
        } catch {
            throw ValidationError(error.description)
        }
        return try Settings(for: readers, options: options, environment: ProcessInfo.processInfo.environment)
    }
}

extension CommandConfiguration {
    /// Of a command that reads settings.
    static func reading(_ readers: Set<Setting.Reader>, _ abstract: String) -> CommandConfiguration {
        CommandConfiguration(abstract: abstract, discussion: Setting.help(for: readers))
    }
}

extension AsyncParsableCommand {
    /// Runs, and turns what a person can mend into a line each and exit code 1.
    func explaining(_ body: () async throws -> Void) async throws {
        defer { LogSink.standardError.flush() }
        do {
            try await body()
        } catch let problem as Settings.Problem {
            LogSink.standardError.flush()
            for line in problem.lines { FileHandle.standardError.write(Data("parley: \(line)\n".utf8)) }
            throw ExitCode.failure
        }
    }

    /// - Parameter name: of a process that was given none.
    func logger(_ settings: Settings, _ name: String) -> Logger {
        .server(settings.name ?? name, level: settings.logLevel, format: settings.logFormat)
    }
}

struct Gateway: AsyncParsableCommand {
    static let configuration = CommandConfiguration.reading(
        [.gateway],
        "Serve clients: HTTP and WebSocket on one port."
    )

    @OptionGroup var options: SettingOptions

    func run() async throws {
        try await explaining {
            let settings = try options.read(for: [.gateway])
            try await GatewayProcess(settings: settings, logger: logger(settings, "gateway-1")).run()
        }
    }
}

struct Worker: AsyncParsableCommand {
    static let configuration = CommandConfiguration.reading(
        [.worker],
        "Archive messages and finish what was left undone."
    )

    @OptionGroup var options: SettingOptions

    func run() async throws {
        try await explaining {
            let settings = try options.read(for: [.worker])
            try await WorkerProcess(settings: settings, logger: logger(settings, "worker-1")).run()
        }
    }
}

struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration.reading(
        [.migrate],
        "Bring the database's schema to this version."
    )

    @OptionGroup var options: SettingOptions

    func run() async throws {
        try await explaining {
            let settings = try options.read(for: [.migrate])
            let applied = try await MigrationProcess(settings: settings, logger: logger(settings, "migrate")).run()
            print(
                applied.isEmpty
                    ? "the schema is up to date" : "applied \(applied.map(String.init).joined(separator: ", "))"
            )
        }
    }
}
