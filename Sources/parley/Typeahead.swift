import ArgumentParser
import Foundation
import ParleyServer

struct Typeahead: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Work on the lists of suggestions.",
        subcommands: [
            Import.self, Rebuild.self, Rollback.self, Status.self, Explain.self, Shards.self, Block.self, Unblock.self,
            Rules.self,
        ]
    )
}

extension Typeahead {
    struct Import: AsyncParsableCommand {
        static let configuration = CommandConfiguration.reading(
            [.typeahead],
            "Make a file of queries the lists in force: lines of query, count and locale with tabs between. Lists of locales "
                + "that the file does not name stay."
        )

        @Argument(help: "The file.", completion: .file())
        var file: String

        @Flag(
            help:
                "Take nothing of a file in which any line is bad. Without it, bad lines are told and the rest is taken."
        )
        var allOrNothing = false

        @OptionGroup var options: SettingOptions

        func run() async throws {
            try await explaining {
                let settings = try options.read(for: [.typeahead])
                let contents: Data
                do {
                    contents = try Data(contentsOf: URL(fileURLWithPath: file))
                } catch {
                    throw Settings.Problem("\(file) cannot be read: \(error.localizedDescription)")
                }
                let lists = SuggestImport(Array(contents))
                for line in lists.bad { tell("\(file):\(line.number): \(line.why)") }
                if allOrNothing, !lists.bad.isEmpty {
                    throw Settings.Problem("\(lists.bad.count) lines of \(file) are bad: nothing was taken.")
                }
                guard !lists.isEmpty else { throw Settings.Problem("\(file) has no line that can be taken.") }
                let progress = ProgressLine()
                try await TypeaheadProcess.with(settings, logger: logger(settings, "typeahead")) { process in
                    let lines = try await process.load(lists) { progress.show($0) }
                    progress.end()
                    for line in lines { print(line) }
                }
                if !lists.bad.isEmpty { print("\(lists.bad.count) bad lines were left out") }
            }
        }

        private func tell(_ line: String) { FileHandle.standardError.write(Data("\(line)\n".utf8)) }
    }
}
