import PostgresClient
import RedisClient

/// What a worker tells of suggestions, for people who look inside.
struct SuggestionStanding: Sendable, Hashable {
    var lists: Int64 = 0
    /// Of all lists.
    var keys: Int64 = 0
    /// Milliseconds since the newest came into force; nil without any.
    var age: Int64?
    /// Searches that are not counted yet, and the last of each shard.
    var searches: Int64 = 0
    /// The last build failed, or made a list that was no good.
    var isFailing = false

    var text: String { "\(lists),\(keys),\(age ?? 0),\(searches),\(isFailing ? 1 : 0)" }
}

extension SuggestionStanding {
    init(in postgres: PostgresPool, redis: RedisClient) async throws {
        let rows = try await postgres.query(
            """
            SELECT (SELECT count(*) FROM suggest_current),
                (SELECT coalesce(sum(entries), 0)::bigint FROM suggest_shards JOIN suggest_current USING (generation)),
                (SELECT now_ms() - max(at) FROM suggest_current),
                (SELECT is_good IS FALSE FROM suggest_builder)
            """
        )
        guard let (lists, keys, age, isFailing) = try rows.decode((Int64, Int64, Int64?, Bool).self).first else {
            self.init()
            return
        }
        self.init(lists: lists, keys: keys, age: age, isFailing: isFailing)
        for shard in SearchShard.all {
            searches += try await redis.send("XLEN", shard.key, repeatable: true).integer ?? 0
        }
    }
}
