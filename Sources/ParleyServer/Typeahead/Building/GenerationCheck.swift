import ParleyCore
import PostgresClient

/// Looks at a generation that nobody is answered from yet, beside the one in force.
struct GenerationCheck: Sendable {
    let store: SuggestStore
    let generation: SuggestGeneration
    /// The one in force; nil for none.
    let before: SuggestGeneration?
    let configuration: BuildConfiguration

    /// Characters of the longest prefix that quality is measured at.
    private static let longest = 8

    /// - Parameter held: searches that the list was not made of.
    func verdict(_ filter: SuggestFilter, held: [QuerySources.Row]) async throws -> BuildVerdict {
        var verdict = BuildVerdict()
        let (entries, expected) = try await size(of: generation)
        verdict.compare("entries", expected: expected, found: entries)
        verdict.forbid(try await forbidden(by: filter))
        guard let before else { return verdict }
        verdict.compareSize(entries, before: try await size(of: before).entries, share: configuration.leastShare)
        verdict.compareQuality(
            try await quality(of: generation, held),
            before: try await quality(of: before, held),
            tolerance: configuration.tolerance,
            least: configuration.leastHeld
        )
        return verdict
    }

    private func size(of generation: SuggestGeneration) async throws -> (entries: Int64, expected: Int64) {
        let rows = try await store.postgres.query(
            """
            SELECT (SELECT count(*) FROM suggest_entries WHERE generation = \(generation.id)),
                (SELECT coalesce(sum(entries), 0)::bigint FROM suggest_shards WHERE generation = \(generation.id))
            """,
            timeout: .seconds(300)
        )
        return try rows.decode((Int64, Int64).self).first.map { ($0.0, $0.1) } ?? (0, -1)
    }

    /// What is suggested to somebody who types what the rules forbid, although they do.
    private func forbidden(by filter: SuggestFilter) async throws -> [String] {
        let keys = SuggestKeys(generation.locale)
        var found: Set<String> = []
        for rule in filter.rules {
            let canary = rule.text.prefix { $0 != "*" && $0 != "?" }
            guard let lookup = try? keys.lookup(canary.utf8) else { continue }
            for key in lookup.keys {
                for entry in try await store.completions(of: key, in: generation)
                where !filter.allows(entry.display, in: generation.locale) {
                    found.insert(entry.display)
                }
            }
        }
        return found.sorted()
    }

    /// How soon people would have found what they searched for.
    private func quality(of generation: SuggestGeneration, _ held: [QuerySources.Row]) async throws -> SuggestQuality {
        let keys = SuggestKeys(generation.locale)
        var quality = SuggestQuality()
        var answers: [[UInt8]: [[UInt8]]] = [:]
        for row in held {
            guard let own = try? keys.keys(of: row.display.utf8)[0] else { continue }
            for length in 1...Self.longest where length < row.display.count {
                guard let key = try? keys.lookup(String(row.display.prefix(length)).utf8).keys.first else { continue }
                if answers[key] == nil {
                    answers[key] = try await store.completions(of: key, in: generation)
                        .prefix(SuggestQuality.depth).compactMap { try? keys.keys(of: $0.display.utf8)[0] }
                }
                quality.found(at: answers[key]?.firstIndex(of: own), weight: row.weight)
            }
        }
        return quality
    }
}
