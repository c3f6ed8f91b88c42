import PostgresClient

/// Which shards of the stream of searches a worker reads, held by leases with a fencing token.
///
/// A round takes one free shard at most: workers that start together share them, and one alone has all within seconds.
struct SearchLeases: Sendable {
    struct Lease: Sendable {
        let shard: SearchShard
        /// Raised by each taker; the counts' transaction compares it.
        let token: Int64
        /// Id of the last entry that is counted.
        var position: String
    }

    let postgres: PostgresPool
    let worker: String
    /// Milliseconds.
    var duration: Int64 = 10_000

    /// Renews what is held and takes a shard that nobody holds, or that this worker held before it failed.
    func renew(_ held: [SearchShard: Lease]) async throws -> [SearchShard: Lease] {
        let kept = Array(held.values)
        let renewed = try await postgres.query(
            """
            UPDATE search_shards SET lease_until = now_ms() + \(duration)
            FROM unnest(\(kept.map { Int64($0.shard.number) })::bigint[], \(kept.map(\.token))::bigint[]) AS mine(shard, token)
            WHERE search_shards.shard = mine.shard AND search_shards.token = mine.token
            RETURNING search_shards.shard::bigint, search_shards.token, search_shards.position
            """
        )
        let taken = try await postgres.query(
            """
            UPDATE search_shards SET token = token + 1, owner = \(worker), lease_until = now_ms() + \(duration)
            WHERE shard IN (
                SELECT shard FROM search_shards
                WHERE (lease_until < now_ms() OR owner = \(worker))
                    AND shard <> ALL(\(kept.map { Int64($0.shard.number) })::bigint[])
                ORDER BY shard LIMIT 1 FOR UPDATE SKIP LOCKED
            )
            RETURNING shard::bigint, token, position
            """
        )
        var leases: [SearchShard: Lease] = [:]
        for rows in [renewed, taken] {
            for (number, token, position) in try rows.decode((Int64, Int64, String).self) {
                let shard = SearchShard(number: Int(number))
                leases[shard] = Lease(shard: shard, token: token, position: position)
            }
        }
        return leases
    }

    /// Gives shards back so that another worker need not wait for the leases to end.
    func release(_ held: [SearchShard: Lease]) async throws {
        let kept = Array(held.values)
        _ = try await postgres.query(
            """
            UPDATE search_shards SET lease_until = 0, owner = NULL
            FROM unnest(\(kept.map { Int64($0.shard.number) })::bigint[], \(kept.map(\.token))::bigint[]) AS mine(shard, token)
            WHERE search_shards.shard = mine.shard AND search_shards.token = mine.token
            """
        )
    }
}
