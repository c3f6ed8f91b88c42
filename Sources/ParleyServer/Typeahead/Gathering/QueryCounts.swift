import PostgresClient

/// The table of how often what was searched for.
struct QueryCounts: Sendable {
    let postgres: PostgresPool

    /// Another worker reads the shard, or has read on.
    struct Fenced: Error {}

    /// Adds a batch and moves the shard's position past it, in one transaction: each entry counts once, whatever
    /// happens to the worker, and however many think that the shard is theirs.
    /// - Throws: `Fenced`, or what the database says; nothing was counted then, unless the outcome is unknown.
    func add(_ batch: SearchBatch, opened: [SearchedQuery], of lease: SearchLeases.Lease) async throws {
        guard let last = batch.last else { return }
        // In one order, or two shards' transactions would wait for each other.
        let counts = batch.counts.sorted { $0.key < $1.key }
        let opened = opened.sorted()
        let day = batch.counts.keys.map(\.day).max() ?? 0
        try await postgres.transaction { connection in
            let moved = try await connection.query(
                """
                UPDATE search_shards SET position = \(last)
                WHERE shard = \(Int64(lease.shard.number)) AND token = \(lease.token) AND position = \(lease.position)
                """
            )
            guard moved.affected == 1 else { throw Fenced() }
            let addition: PostgresQuery =
                """
                INSERT INTO query_counts (locale, day, query, display, count, held)
                SELECT * FROM unnest(
                    \(counts.map(\.key.query.locale))::text[], \(counts.map(\.key.day))::integer[],
                    \(counts.map(\.key.query.text))::text[], \(counts.map(\.key.display))::text[],
                    \(counts.map(\.value.counted))::bigint[], \(counts.map(\.value.held))::bigint[]
                ) ON CONFLICT (locale, day, query, display) DO UPDATE
                SET count = query_counts.count + excluded.count, held = query_counts.held + excluded.held
                """
            if !counts.isEmpty { _ = try await connection.query(addition) }
            let opening: PostgresQuery =
                """
                INSERT INTO query_gate (locale, query, opened_on)
                SELECT locale, query, \(day) FROM unnest(
                    \(opened.map(\.locale))::text[], \(opened.map(\.text))::text[]
                ) AS opened(locale, query) ON CONFLICT DO NOTHING
                """
            if !opened.isEmpty { _ = try await connection.query(opening) }
        }
    }

    /// Forgets what was searched for so many days ago, and that queries were open of which nothing is left.
    func forget(olderThan days: Int) async throws {
        let oldest: PostgresQuery = "DELETE FROM query_counts WHERE day < now_ms() / 86400000 - \(Int64(days))"
        _ = try await postgres.query(oldest, timeout: .seconds(600))
        let closed: PostgresQuery =
            """
            DELETE FROM query_gate WHERE opened_on < now_ms() / 86400000 - \(Int64(days)) AND NOT EXISTS (
                SELECT FROM query_counts
                WHERE query_counts.locale = query_gate.locale AND query_counts.query = query_gate.query
            )
            """
        _ = try await postgres.query(closed, timeout: .seconds(600))
    }
}
