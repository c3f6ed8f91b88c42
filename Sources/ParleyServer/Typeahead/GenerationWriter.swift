import Logging
import ParleyCore
import PostgresClient
import RedisClient
import Synchronization

/// Makes generations of lists of suggestions and puts them in force.
///
///     let base = try await writer.store.current(of: locale)?.id      // before reading what the entries are made of
///     let generation = try await writer.build(entries, for: locale, base: base, source: "rebuild")
///     // Look at it, by `writer.store.completions(of:in:)`; if it is no good: `try await writer.discard(generation)`.
///     try await writer.flip(to: generation)
///     try await writer.retireOld(of: locale)
///
/// What `build` returns stands whole and verified in PostgreSQL and in Redis, and nobody is answered from it. Any
/// number of processes may build the same list at once: of those with the same base the first that flips wins.
struct GenerationWriter: Sendable {
    let store: SuggestStore
    let redis: RedisClient
    let logger: Logger

    /// Where gateways hear of a flip; they look by themselves every few seconds, too.
    static let channel = "suggest"

    enum Stage: String, Sendable {
        case indexing, storing, filling
    }

    /// Told now and then: of so many entries so many are done.
    typealias Progress = @Sendable (_ stage: Stage, _ done: Int, _ total: Int) -> Void

    enum Refusal: Error, CustomStringConvertible {
        /// Another generation than the base is in force.
        case overtaken(SuggestLocale)
        /// There is nothing to go back to.
        case nothingBefore(SuggestLocale)

        var description: String {
            switch self {
            case .overtaken(let locale): "another list of \(locale) came into force meanwhile; this one was discarded"
            case .nothingBefore(let locale): "there is no list of \(locale) to go back to"
            }
        }
    }

    var filler: ShardFiller { ShardFiller(store: store, redis: redis) }

    /// - Parameters:
    ///   - entries: in any order; spellings that are compared as the same are made one. See `SuggestIndex`.
    ///   - map: nil for the one of the list's newest generation.
    ///   - base: the generation in force when the entries were read; nil where there was none.
    ///   - source: for people who look at the table.
    func build(
        _ entries: [SuggestEntry],
        for locale: SuggestLocale,
        map: SuggestShardMap? = nil,
        base: Int32?,
        source: String,
        progress: Progress = { _, _, _ in }
    ) async throws -> SuggestGeneration {
        progress(.indexing, 0, entries.count)
        var map = map
        if map == nil { map = try await store.newestMap(of: locale) }
        let index = SuggestIndex(entries, locale: locale, map: map ?? .single)
        let total = index.rows.count
        progress(.indexing, entries.count, entries.count)
        let generation = try await store.begin(locale, index.map, base: base, source: source)
        for start in stride(from: 0, to: total, by: SuggestStore.page) {
            let end = min(start + SuggestStore.page, total)
            try await store.write(index.rows[start..<end], of: index, to: generation)
            progress(.storing, end, total)
        }
        for start in stride(from: 0, to: index.prefixes.count, by: SuggestStore.page) {
            let end = min(start + SuggestStore.page, index.prefixes.count)
            try await store.write(index.prefixes[start..<end], of: index, to: generation)
        }
        try await store.complete(generation, Self.tallies(index))
        let filled = Atomic<Int>(0)
        for shard in 0..<index.map.count {
            let outcome = try await filler.fill(generation, shard, waits: true) { entries in
                progress(.filling, filled.add(entries, ordering: .relaxed).newValue, total)
            }
            guard outcome == .filled else { throw Refusal.overtaken(locale) }
        }
        logger.notice(
            "a list of suggestions was made",
            metadata: [
                "locale": "\(locale)", "generation": "\(generation.id)", "entries": "\(index.entries.count)",
                "prefixes": "\(index.prefixes.count)", "shards": "\(index.map.count)",
            ]
        )
        return generation
    }

    /// Puts a generation in force.
    ///
    /// - Throws: `Refusal.overtaken`, and the generation is discarded.
    func flip(to generation: SuggestGeneration) async throws {
        guard try await store.flip(to: generation) else {
            try await discard(generation)
            throw Refusal.overtaken(generation.locale)
        }
        await announce(generation)
    }

    /// Puts the generation before the present one in force again; once more, and the present one is back.
    ///
    /// - Throws: `Refusal.nothingBefore`.
    func rollBack(_ locale: SuggestLocale) async throws -> SuggestGeneration {
        guard let generation = try await store.rollBack(locale) else { throw Refusal.nothingBefore(locale) }
        for shard in 0..<generation.map.count {
            let ready = try await redis.send("EXISTS", generation.keys(shard).ready, repeatable: true).integer
            if ready != 1 { _ = try await filler.fill(generation, shard, waits: true) }
        }
        await announce(generation)
        return generation
    }

    /// Removes a generation that is not in force.
    func discard(_ generation: SuggestGeneration) async throws {
        guard try await store.retire(generation) else { return }
        for shard in 0..<generation.map.count { try await filler.empty(generation, shard) }
        try await store.erase(generation)
    }

    /// Removes what is older than the generation to go back to, and what was begun a day ago and never ended.
    func retireOld(of locale: SuggestLocale) async throws {
        for generation in try await store.superfluous(locale) { try await discard(generation) }
    }

    private func announce(_ generation: SuggestGeneration) async {
        do {
            _ = try await redis.send("PUBLISH", Self.channel, "\(generation.locale) \(generation.id)")
        } catch {
            logger.warning("a flip was not announced", metadata: ["error": "\(error)"])
        }
    }

    private static func tallies(_ index: SuggestIndex) -> [SuggestGeneration.ShardTally] {
        var tallies = [SuggestGeneration.ShardTally](repeating: .init(), count: index.map.count)
        for row in index.rows {
            let key = index.key(row)
            let entry = index.entries[row.entry]
            let shard = index.map.shard(of: key)
            tallies[shard].entries += 1
            let member = SuggestMember(key: key, display: entry.display, weight: entry.weight)
            tallies[shard].checksum &+= SuggestMember.checksum(of: member.bytes)
        }
        for prefix in index.prefixes { tallies[index.map.shard(of: prefix.bytes)].prefixes += 1 }
        return tallies
    }
}
