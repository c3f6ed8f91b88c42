import ArgumentParser
import Foundation
import ParleyServer

/// What a rule forbids, as options.
struct RuleOptions: ParsableArguments {
    @Argument(help: "The query, word or pattern (* for any characters, ? for one).")
    var text: String

    @Option(help: "exact for the whole query, word for a word in it, or pattern.")
    var kind = "word"

    @Option(help: "The list it holds for, as ko or ko-KR; all of them without it.")
    var locale: String?

    @Option(help: "Why, for the log.")
    var reason: String?

    @Option(help: "Who, for the log.")
    var by = ProcessInfo.processInfo.environment["SUDO_USER"] ?? ProcessInfo.processInfo.userName

    func change(isBlocking: Bool, _ process: TypeaheadProcess) async throws -> [String] {
        try await process.changeRule(isBlocking: isBlocking, kind: kind, text, locale: locale, reason: reason, by: by) {
            _ = Output.write($0 + "\n")
        }
        return []
    }
}

extension Typeahead {
    struct Block: AsyncParsableCommand {
        static let configuration = CommandConfiguration.reading(
            [.typeahead],
            "Forbid a suggestion; ends when no gateway makes it any more."
        )

        @OptionGroup var rule: RuleOptions
        @OptionGroup var options: SettingOptions

        func run() async throws {
            try await onTypeahead(options) { try await rule.change(isBlocking: true, $0) }
        }
    }

    struct Unblock: AsyncParsableCommand {
        static let configuration = CommandConfiguration.reading([.typeahead], "Take a rule out of force.")

        @OptionGroup var rule: RuleOptions
        @OptionGroup var options: SettingOptions

        func run() async throws {
            try await onTypeahead(options) { try await rule.change(isBlocking: false, $0) }
        }
    }

    struct Rules: AsyncParsableCommand {
        static let configuration = CommandConfiguration.reading(
            [.typeahead],
            "List what is forbidden, and the last changes."
        )

        @Option(help: "Changes that are listed.")
        var changes = 20

        @OptionGroup var options: SettingOptions

        func run() async throws {
            try await onTypeahead(options) { try await $0.rules(changes: changes) }
        }
    }
}
