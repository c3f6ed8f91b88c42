public import ArgumentParser
import Logging
public import ParleyServer

extension Setting.Reader: ExpressibleByArgument {}

struct CheckConfig: AsyncParsableCommand {
    static let configuration = CommandConfiguration.reading(
        Set(Setting.Reader.allCases),
        "Say everything that is wrong with the settings; exit status 0 if nothing is."
    )

    @Option(name: .customLong("for"), help: "Whose settings; everybody's without it. May be repeated.")
    var readers: [Setting.Reader] = []

    @Flag(help: "Also ask the stores, and say what they are.")
    var connect = false

    @OptionGroup var options: SettingOptions

    func run() async throws {
        try await explaining {
            let readers = Set(readers.isEmpty ? Setting.Reader.allCases : readers)
            let settings = try options.read(for: readers)
            // A service manager may give the gateway more than this shell: no mistake in the settings.
            if readers.contains(.gateway), let warning = try OpenFiles(for: settings).warning { print("\(warning).") }
            guard connect else { return print("The settings are right.") }
            var check = StoreCheck(
                settings: settings,
                logger: Logger(label: "parley") { _ in SwiftLogNoOpLogHandler() }
            )
            await check.run()
            for line in check.found { print(line) }
            guard check.problems.isEmpty else { throw Settings.Problem(lines: check.problems) }
        }
    }
}

struct ConfigReference: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the configuration reference, Ops/CONFIGURATION.md.",
        shouldDisplay: false
    )

    func run() { print(Setting.reference, terminator: "") }
}
