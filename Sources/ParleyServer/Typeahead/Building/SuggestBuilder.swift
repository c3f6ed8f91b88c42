import Logging
import ParleyCore
import PostgresClient

/// Makes all lists anew of what was imported and gathered, and puts those in force that are no worse than before.
struct SuggestBuilder: Sendable {
    let writer: GenerationWriter
    let configuration: BuildConfiguration
    let logger: Logger

    /// What came of a list.
    struct Outcome: Sendable {
        let isGood: Bool
        /// For people.
        let text: String
    }

    /// Told what is done now.
    typealias Progress = @Sendable (String) -> Void

    private var sources: QuerySources { QuerySources(postgres: writer.store.postgres) }

    /// - Parameters:
    ///   - isForced: puts lists in force whatever is wrong with them, but for what the filter forbids.
    ///   - rebalances: makes the map of shards anew in any case.
    func build(isForced: Bool = false, rebalances: Bool = false, progress: @escaping Progress) async throws -> [Outcome]
    {
        progress("reads what was imported and gathered")
        let filter = try await RuleStore(postgres: writer.store.postgres).read().filter
        // Before the queries are read: what another puts in force meanwhile was made of as much at least.
        let current = Dictionary(uniqueKeysWithValues: try await writer.store.current().map { ($0.locale, $0) })
        let choice = ListChoice(
            imported: try await sources.imported(),
            sizes: try await sources.sizes(),
            least: configuration.leastQueries
        )
        var entries: [SuggestLocale: [SuggestEntry]] = [:]
        for row in try await sources.all(halfLifeDays: configuration.halfLifeDays) {
            for list in choice.lists(of: row.locale) where filter.allows(row.display, in: list) {
                entries[list, default: []].append(SuggestEntry(display: row.display, weight: row.weight))
            }
        }
        let held = try await sources.held(days: configuration.heldDays, limit: configuration.heldQueries)
        var outcomes: [Outcome] = []
        for (list, entries) in entries.sorted(by: { $0.key < $1.key }) {
            let before = current[list]
            let generation = try await writer.build(
                entries,
                for: list,
                map: map(of: entries, list, before?.map, rebalances: rebalances),
                base: before?.id,
                source: "rebuild"
            ) { progress("\(list): \($0.rawValue) \($1) of \($2)") }
            progress("\(list): verifying")
            let check = GenerationCheck(
                store: writer.store,
                generation: generation,
                before: before,
                configuration: configuration
            )
            let verdict = try await check.verdict(
                filter,
                held: held.filter { choice.lists(of: $0.locale).contains(list) }
            )
            outcomes.append(try await settle(generation, verdict, entries.count, isForced: isForced))
        }
        return outcomes
    }

    private func settle(
        _ generation: SuggestGeneration,
        _ verdict: BuildVerdict,
        _ count: Int,
        isForced: Bool
    ) async throws -> Outcome {
        let list = generation.locale
        guard verdict.isGood || isForced else {
            try await writer.discard(generation)
            let faults = verdict.faults.joined(separator: "; ")
            logger.error("a list was built and is no good", metadata: ["locale": "\(list)", "faults": "\(faults)"])
            return Outcome(isGood: false, text: "\(list): the list before stays: \(faults)")
        }
        // A turn that was lost meanwhile ends here.
        try Task.checkCancellation()
        do {
            try await writer.flip(to: generation)
        } catch let refusal as GenerationWriter.Refusal {
            return Outcome(isGood: false, text: "\(refusal)")
        }
        try await writer.retireOld(of: list)
        return Outcome(
            isGood: true,
            text: "\(list): generation \(generation.id) is in force, of \(count) ways of writing on "
                + "\(generation.map.count) \(generation.map.count == 1 ? "shard" : "shards")"
        )
    }

    /// The map that the list has, unless another spreads it clearly better.
    private func map(
        of entries: [SuggestEntry],
        _ list: SuggestLocale,
        _ present: SuggestShardMap?,
        rebalances: Bool
    ) -> SuggestShardMap {
        let shards = entries.count < configuration.leastQueries ? 1 : configuration.shards
        if shards == 1 { return .single }
        let weights = SuggestWeights(entries, of: list)
        let even = weights.split(into: shards)
        guard let present, present.count == shards, !rebalances else { return even }
        let imbalance = SuggestWeights.imbalance(of: weights.loads(under: present))
        let better = SuggestWeights.imbalance(of: weights.loads(under: even))
        return imbalance > max(configuration.mostImbalance, 1.05 * better) ? even : present
    }
}

extension SuggestWeights {
    init(_ entries: some Sequence<SuggestEntry>, of list: SuggestLocale) {
        self.init()
        let keys = SuggestKeys(list)
        for entry in entries {
            if let key = try? keys.keys(of: entry.display.utf8).first { add(key, count: entry.weight) }
        }
    }
}
