import ParleyCore
import PostgresClient
import RedisClient

/// `parley typeahead explain`.
extension TypeaheadProcess {
    /// Queries of a prefix that are told of although they are not suggested.
    private static let absent = 10

    /// Why a prefix is answered as it is: of each suggestion the weight in the list and of late, and of what was searched
    /// for and is not among them, whether the gate, the filter or the next build is what it waits for.
    public func explain(_ prefix: String, locale: String) async throws -> [String] {
        let locale = try Self.list(locale)
        let current = try await writer.store.current()
        let filter = try await RuleStore(postgres: postgres).read().filter
        let list = locale.chain.first { list in current.contains { $0.locale == list } }
        let generation = current.first { $0.locale == list }
        let keys = SuggestKeys(list ?? locale)
        let lookup: SuggestKeys.Lookup
        do {
            lookup = try keys.lookup(prefix.utf8)
        } catch {
            throw Settings.Problem("\"\(prefix)\" is no prefix: it is \(error).")
        }
        var lines = ["\"\(lookup.text.string)\" in \(locale)"]
        var shown: Set<[UInt8]> = []
        if let generation {
            lines[0] += ": list \(generation.locale), generation \(generation.id), filter \(filter.version)"
            lines += try await suggestions(lookup, generation, filter, &shown)
        } else {
            lines[0] += ": there is no list for it"
        }
        return lines + (try await gathered(lookup, locale, keys, filter, shown))
    }

    private func suggestions(
        _ lookup: SuggestKeys.Lookup,
        _ generation: SuggestGeneration,
        _ filter: SuggestFilter,
        _ shown: inout Set<[UInt8]>
    ) async throws -> [String] {
        let keys = SuggestKeys(generation.locale)
        var lines: [String] = []
        for (rank, key) in lookup.keys.enumerated() {
            let shard = generation.map.shard(of: key)
            let entries = try await writer.store.completions(of: key, in: generation)
            let texts = entries.map { (try? SuggestText(utf8: $0.display.utf8, .query).string) ?? $0.display }
            let trends = try await Trends(redis: redis, halfLife: 1).weights(of: texts, in: generation.locale)
            if !entries.isEmpty {
                lines.append("  key \(rank + 1) \"\(String(decoding: key, as: UTF8.self))\" on shard \(shard)")
            }
            for (entry, trend) in zip(entries, trends) {
                if let own = try? keys.keys(of: entry.display.utf8)[0] { shown.insert(own) }
                let isAllowed = filter.allows(entry.display, in: generation.locale)
                lines.append(
                    "    \(entry.display)  base \(Self.short(entry.weight))  trend \(Self.short(trend))"
                        + (isAllowed ? "" : "  ! blocked by the filter")
                )
            }
        }
        return lines.isEmpty ? ["  nothing of the list begins so"] : lines
    }

    private func gathered(
        _ lookup: SuggestKeys.Lookup,
        _ locale: SuggestLocale,
        _ keys: SuggestKeys,
        _ filter: SuggestFilter,
        _ shown: Set<[UInt8]>
    ) async throws -> [String] {
        // Whether a query begins so is for its key to say: the table is asked for what is near.
        let rows = try await postgres.query(
            """
            SELECT locale, query, sum(count + held)::bigint, bool_or(query_gate.query IS NOT NULL)
            FROM query_counts LEFT JOIN query_gate USING (locale, query)
            WHERE starts_with(query, \(lookup.text.string)) AND locale = ANY(\(locale.chain.map(\.description))::text[])
            GROUP BY locale, query ORDER BY 3 DESC, 2 LIMIT \(Self.absent + shown.count)
            """,
            timeout: .seconds(60)
        ).decode((String, String, Int64, Bool).self)
        var lines: [String] = []
        for (list, query, count, isOpen) in rows {
            guard let own = try? keys.keys(of: query.utf8)[0], !shown.contains(own) else { continue }
            let reason: String
            if !isOpen {
                let key = PrivacyGate.key(SearchedQuery(locale: list, text: query))
                let users = try await redis.send("SCARD", key, repeatable: true).integer ?? 0
                reason = "the gate: \(users) users of \(settings.gathering.gate) within the time that counts"
            } else if let list = SuggestLocale(list), !filter.allows(query, in: list) {
                reason = "the filter"
            } else {
                reason = "the next build, or more searches than others have"
            }
            lines.append("    \(query)  searched for \(count) times in \(list)  waits for \(reason)")
        }
        return lines.isEmpty ? [] : ["  not among them"] + lines
    }
}
