import ArgumentParser
import Foundation
import ParleyServer

extension AsyncParsableCommand {
    /// Runs a command on the stores of suggestions, and writes the lines that it answers.
    func onTypeahead(_ options: SettingOptions, _ body: (TypeaheadProcess) async throws -> [String]) async throws {
        try await explaining {
            let settings = try options.read(for: [.typeahead])
            try await TypeaheadProcess.with(settings, logger: logger(settings, "typeahead")) { process in
                for line in try await body(process) { _ = Output.write(line + "\n") }
            }
        }
    }
}

extension Typeahead {
    struct Rebuild: AsyncParsableCommand {
        static let configuration = CommandConfiguration.reading(
            [.typeahead],
            "Build all lists anew of what was imported and gathered, and put in force those that are no worse than before."
        )

        @Flag(help: "In this process, instead of by a worker.")
        var here = false

        @Flag(help: "Put them in force even if they are worse. Builds here.")
        var force = false

        @OptionGroup var options: SettingOptions

        func run() async throws {
            let progress = ProgressLine()
            try await onTypeahead(options) {
                defer { progress.end() }
                guard here || force else { return try await $0.rebuild { progress.show($0) } }
                return try await $0.rebuildHere(isForced: force, rebalances: false) { progress.show($0) }
            }
        }
    }

    struct Rollback: AsyncParsableCommand {
        static let configuration = CommandConfiguration.reading(
            [.typeahead],
            "Put the list before the present one in force again. Nothing is built by the schedule until rebuild."
        )

        @Argument(help: "The list, as ko or ko-KR, or default.")
        var locale: String

        @OptionGroup var options: SettingOptions

        func run() async throws { try await onTypeahead(options) { try await $0.rollBack(locale) } }
    }

    struct Status: AsyncParsableCommand {
        static let configuration = CommandConfiguration.reading(
            [.typeahead],
            "Show what is in force, and how gathering and building go."
        )

        @OptionGroup var options: SettingOptions

        func run() async throws { try await onTypeahead(options) { try await $0.status() } }
    }

    struct Explain: AsyncParsableCommand {
        static let configuration = CommandConfiguration.reading(
            [.typeahead],
            "Show why a prefix is answered as it is, and why what is missing is."
        )

        @Argument(help: "What is typed.")
        var prefix: String

        @Option(help: "Whose, as ko or ko-KR.")
        var locale = "default"

        @OptionGroup var options: SettingOptions

        func run() async throws { try await onTypeahead(options) { try await $0.explain(prefix, locale: locale) } }
    }

    struct Shards: AsyncParsableCommand {
        static let configuration = CommandConfiguration.reading(
            [.typeahead],
            "Show what each shard has to answer."
        )

        @Flag(help: "Build all lists anew, each spread evenly over its shards.")
        var rebalance = false

        @OptionGroup var options: SettingOptions

        func run() async throws {
            let progress = ProgressLine()
            try await onTypeahead(options) {
                guard rebalance else { return try await $0.shards() }
                defer { progress.end() }
                let lines = try await $0.rebuildHere(isForced: false, rebalances: true) { progress.show($0) }
                return try await lines + $0.shards()
            }
        }
    }
}
