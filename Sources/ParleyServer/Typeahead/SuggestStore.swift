import ParleyCore
import PostgresClient

/// Generations in PostgreSQL: which there are, what they hold, and which of each list is in force.
struct SuggestStore: Sendable {
    let postgres: PostgresPool

    /// Rows of a statement.
    static let page = 5000
    /// Above every key and prefix: no UTF-8 begins with it.
    private static let end: [UInt8] = [0xFF]

    // MARK: What is in force

    /// Of all lists.
    func current() async throws(PostgresError) -> [SuggestGeneration] {
        try await postgres.query(
            """
            SELECT g.locale, g.id, g.base, m.bounds
            FROM suggest_current c JOIN suggest_generations g ON g.id = c.generation
                JOIN suggest_shard_maps m ON m.id = g.shard_map
            """
        ).decode((String, Int32, Int32?, [[UInt8]]).self).compactMap(Self.generation)
    }

    func current(of locale: SuggestLocale) async throws(PostgresError) -> SuggestGeneration? {
        try await current().first { $0.locale == locale }
    }

    /// The shard map that a list's newest generation was made under.
    func newestMap(of locale: SuggestLocale) async throws(PostgresError) -> SuggestShardMap? {
        let bounds = try await postgres.query(
            """
            SELECT m.bounds FROM suggest_generations g JOIN suggest_shard_maps m ON m.id = g.shard_map
            WHERE g.locale = \(locale.description) ORDER BY g.id DESC LIMIT 1
            """
        ).decode([[UInt8]].self)
        return bounds.first.flatMap { SuggestShardMap(bounds: $0) }
    }

    /// - Returns: false when another generation than the one's base is in force: nothing was changed.
    func flip(to generation: SuggestGeneration) async throws(PostgresError) -> Bool {
        let isFirst = generation.base == nil
        let query: PostgresQuery =
            isFirst
            ? """
            INSERT INTO suggest_current (locale, generation, at)
            VALUES (\(generation.locale.description), \(generation.id), now_ms())
            ON CONFLICT DO NOTHING
            """
            : """
            UPDATE suggest_current SET generation = \(generation.id), previous = generation, at = now_ms()
            WHERE locale = \(generation.locale.description) AND generation = \(generation.base ?? 0)
            """
        return try await postgres.query(query).affected == 1
    }

    /// Exchanges the one in force with the one before.
    ///
    /// - Returns: what is in force now; nil where there is nothing to go back to.
    func rollBack(_ locale: SuggestLocale) async throws(PostgresError) -> SuggestGeneration? {
        let changed = try await postgres.query(
            """
            UPDATE suggest_current SET generation = previous, previous = generation, at = now_ms()
            WHERE locale = \(locale.description) AND previous IS NOT NULL
            """
        ).affected
        return changed == 1 ? try await current(of: locale) : nil
    }

    private static func generation(_ row: (String, Int32, Int32?, [[UInt8]])) -> SuggestGeneration? {
        guard let locale = SuggestLocale(row.0), let map = SuggestShardMap(bounds: row.3) else { return nil }
        return SuggestGeneration(id: row.1, locale: locale, map: map, base: row.2)
    }

    // MARK: Writing one

    func begin(_ locale: SuggestLocale, _ map: SuggestShardMap, base: Int32?, source: String)
        async throws(PostgresError)
        -> SuggestGeneration
    {
        let ids = try await postgres.query(
            """
            WITH known AS (
                SELECT id FROM suggest_shard_maps
                WHERE locale = \(locale.description) AND bounds = \(map.bounds) ORDER BY id DESC LIMIT 1
            ), added AS (
                INSERT INTO suggest_shard_maps (locale, bounds)
                SELECT \(locale.description), \(map.bounds) WHERE NOT EXISTS (SELECT FROM known) RETURNING id
            )
            INSERT INTO suggest_generations (locale, shard_map, base, source, state)
            SELECT \(locale.description), id, \(base), \(source), 'building'
            FROM (TABLE known UNION ALL TABLE added) AS map
            RETURNING id
            """
        ).decode(Int32.self)
        guard let id = ids.first else { throw PostgresError(.decoding, "a generation without an id") }
        return SuggestGeneration(id: id, locale: locale, map: map, base: base)
    }

    func write(_ rows: ArraySlice<SuggestIndex.Row>, of index: SuggestIndex, to generation: SuggestGeneration)
        async throws(PostgresError)
    {
        let keys = rows.map { Array(index.key($0)) }
        let entries = rows.map { index.entries[$0.entry] }
        _ = try await postgres.query(
            """
            INSERT INTO suggest_entries (generation, key, display, weight)
            SELECT \(generation.id), *
            FROM unnest(\(keys), \(entries.map(\.display))::text[], \(entries.map(\.weight)))
            """
        )
    }

    func write(_ prefixes: ArraySlice<SuggestIndex.Prefix>, of index: SuggestIndex, to generation: SuggestGeneration)
        async throws(PostgresError)
    {
        let completions = prefixes.map { RankedCompletions.bytes($0.entries.lazy.map { index.entries[$0] }) }
        _ = try await postgres.query(
            """
            INSERT INTO suggest_prefixes (generation, prefix, completions)
            SELECT \(generation.id), * FROM unnest(\(prefixes.map(\.bytes)), \(completions))
            """
        )
    }

    func complete(_ generation: SuggestGeneration, _ tallies: [SuggestGeneration.ShardTally]) async throws {
        let shards = tallies.indices.map { Int32($0) }
        try await postgres.transaction { connection in
            _ = try await connection.query(
                """
                INSERT INTO suggest_shards (generation, shard, entries, prefixes, checksum)
                SELECT \(generation.id), *
                FROM unnest(\(shards), \(tallies.map(\.entries)), \(tallies.map(\.prefixes)), \(tallies.map(\.checksum)))
                """
            )
            _ = try await connection.query(
                "UPDATE suggest_generations SET state = 'complete' WHERE id = \(generation.id)"
            )
        }
    }

    // MARK: Reading one

    func tally(of generation: SuggestGeneration, shard: Int, on connection: PostgresConnection)
        async throws(PostgresError) -> SuggestGeneration.ShardTally?
    {
        try await connection.query(
            """
            SELECT entries, prefixes, checksum FROM suggest_shards
            WHERE generation = \(generation.id) AND shard = \(Int32(shard))
            """
        ).decode((Int, Int, Int64).self).first.map { .init(entries: $0, prefixes: $1, checksum: $2) }
    }

    /// A page of a shard's entries.
    ///
    /// - Parameter last: the key and display of the last one of the page before.
    func entries(
        of generation: SuggestGeneration,
        shard: Int,
        after last: ([UInt8], String)?,
        on connection: PostgresConnection
    ) async throws(PostgresError)
        -> [(key: [UInt8], display: String, weight: Double)]
    {
        let (from, to) = range(generation, shard)
        return try await connection.query(
            """
            SELECT key, display, weight FROM suggest_entries
            WHERE generation = \(generation.id) AND key >= \(from) AND key < \(to)
                AND (key, display) > (\(last?.0 ?? []), \(last?.1 ?? ""))
            ORDER BY key, display LIMIT \(Self.page)
            """
        ).decode(([UInt8], String, Double).self)
    }

    /// A page of a shard's prefixes.
    func prefixes(of generation: SuggestGeneration, shard: Int, after last: [UInt8], on connection: PostgresConnection)
        async throws(PostgresError)
        -> [(prefix: [UInt8], completions: [UInt8])]
    {
        let (from, to) = range(generation, shard)
        return try await connection.query(
            """
            SELECT prefix, completions FROM suggest_prefixes
            WHERE generation = \(generation.id) AND prefix >= \(from) AND prefix < \(to) AND prefix > \(last)
            ORDER BY prefix LIMIT \(Self.page)
            """
        ).decode(([UInt8], [UInt8]).self)
    }

    private func range(_ generation: SuggestGeneration, _ shard: Int) -> (from: [UInt8], to: [UInt8]) {
        let bounds = generation.map.bounds
        return (shard == 0 ? [] : bounds[shard - 1], shard < bounds.count ? bounds[shard] : Self.end)
    }

    /// The heaviest completions of a prefix, as Redis would answer them.
    func completions(of prefix: [UInt8], in generation: SuggestGeneration, timeout: Duration? = nil)
        async throws(PostgresError) -> [SuggestEntry]
    {
        let ranked = try await postgres.query(
            "SELECT completions FROM suggest_prefixes WHERE generation = \(generation.id) AND prefix = \(prefix)",
            timeout: timeout
        ).decode([UInt8].self)
        if let ranked = ranked.first { return RankedCompletions.read(ranked) }
        return try await postgres.query(
            """
            SELECT display, weight FROM suggest_entries
            WHERE generation = \(generation.id) AND key >= \(prefix) AND key < \(prefix + Self.end)
            ORDER BY weight DESC, key LIMIT \(SuggestIndex.width)
            """,
            timeout: timeout
        ).decode((String, Double).self).map { SuggestEntry(display: $0, weight: $1) }
    }

    // MARK: The end of one

    /// Those of a list that are neither in force nor to be gone back to, nor being made.
    func superfluous(_ locale: SuggestLocale) async throws(PostgresError) -> [SuggestGeneration] {
        try await postgres.query(
            """
            SELECT g.locale, g.id, g.base, m.bounds
            FROM suggest_generations g JOIN suggest_shard_maps m ON m.id = g.shard_map
            WHERE g.locale = \(locale.description)
                AND (g.state = 'complete' AND g.id < (SELECT generation FROM suggest_current c WHERE c.locale = g.locale)
                    OR g.at < now_ms() - 86400000)
                AND NOT EXISTS (SELECT FROM suggest_current c WHERE g.id IN (c.generation, c.previous))
                AND EXISTS (SELECT FROM suggest_entries e WHERE e.generation = g.id)
            """
        ).decode((String, Int32, Int32?, [[UInt8]]).self).compactMap(Self.generation)
    }

    /// - Returns: false for one that is in force or to be gone back to.
    func retire(_ generation: SuggestGeneration) async throws(PostgresError) -> Bool {
        try await postgres.query(
            """
            UPDATE suggest_generations SET state = 'retired' WHERE id = \(generation.id)
                AND NOT EXISTS (SELECT FROM suggest_current WHERE \(generation.id) IN (generation, previous))
            """
        ).affected == 1
    }

    /// The last that is known of a generation, but for its line in the list.
    func erase(_ generation: SuggestGeneration) async throws(PostgresError) {
        let patience = Duration.seconds(300)
        _ = try await postgres.query(
            "DELETE FROM suggest_prefixes WHERE generation = \(generation.id)",
            timeout: patience
        )
        _ = try await postgres.query("DELETE FROM suggest_shards WHERE generation = \(generation.id)")
        _ = try await postgres.query(
            "DELETE FROM suggest_entries WHERE generation = \(generation.id)",
            timeout: patience
        )
    }
}
