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
            var (expected, acknowledged) = (0, 0)
            for name in journals {
                var reader = try JournalReader(path: "\(directory)/\(name)")
                try reader.read()
                let (ledger, verdict) = (reader.ledger, reader.ledger.verdict())
                isWhole = isWhole && reader.isWhole
                expected = max(expected, ledger.map.ledgers)
                violations += verdict
                let isAcknowledged = ledger.messages.count { $0.isAcknowledged }
                acknowledged += isAcknowledged
                say("\(name)\(reader.isWhole ? "" : " (cut off)")")
                printTable([
                    ("sent", "\(ledger.messages.count)"),
                    ("acknowledged", "\(isAcknowledged)"),
                    ("histories", "\(ledger.conversationsRead)"),
                    ("lost", "\(verdict.lost)"),
                    ("duplicated", "\(verdict.duplicated)"),
                    ("reordered", "\(verdict.reordered)"),
                    ("leaked", "\(verdict.leaked)"),
                ])
            }
            for item in violations.items { say("  \(item.kind.rawValue): \(item.message)") }
            guard isWhole else { throw LoadError("a journal was cut off: its run did not come to an end") }
            if !violations.isEmpty {
                say("\nA promise was BROKEN: see above.")
                return .brokenPromise
            }
            guard journals.count == expected else {
                throw LoadError("\(directory) holds \(journals.count) of the run's \(expected) journals")
            }
            guard acknowledged > 0 else { throw LoadError("no message was acknowledged: there is nothing to judge") }
            say("\nEvery promise held.")
            return .success
        }
    }
}
