import ArgumentParser
import Foundation

struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Judges the journals that a run wrote with --journal.",
        discussion: """
            The same ledger comes to the same judgement, from the files alone. A journal that was cut off is judged as
            far as it goes: what was under way at its end counts as lost, and the exit code is 2.
            """
    )

    @Argument(help: "The folder that was given to --journal.")
    var directory: String

    func run() async throws {
        try await reporting { _ in
            let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
            let journals = names.filter { $0.hasSuffix(".journal") }.sorted()
            guard !journals.isEmpty else { throw LoadError("there is no journal in \(directory)") }
            var violations = Violations()
            var isWhole = true
            for name in journals {
                var reader = try JournalReader(path: "\(directory)/\(name)")
                try reader.read()
                let (ledger, verdict) = (reader.ledger, reader.ledger.verdict())
                isWhole = isWhole && reader.isWhole
                violations += verdict
                say("\(name)\(reader.isWhole ? "" : " (cut off)")")
                printTable([
                    ("sent", "\(ledger.messages.count)"),
                    ("acknowledged", "\(ledger.messages.count { $0.isAcknowledged })"),
                    ("histories", "\(ledger.conversationsRead)"),
                    ("lost", "\(verdict.lost)"),
                    ("duplicated", "\(verdict.duplicated)"),
                    ("reordered", "\(verdict.reordered)"),
                    ("leaked", "\(verdict.leaked)"),
                ])
            }
            for item in violations.items { say("  \(item.kind.rawValue): \(item.message)") }
            guard isWhole else { throw LoadError("a journal was cut off: its run did not come to an end") }
            say(violations.isEmpty ? "\nEvery promise held." : "\nA promise was BROKEN: see above.")
            return violations.isEmpty ? .success : .brokenPromise
        }
    }
}
