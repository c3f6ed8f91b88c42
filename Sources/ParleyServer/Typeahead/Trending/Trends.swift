import RedisClient

#if canImport(Glibc)
    import Glibc
#endif

/// What is searched for more of late, in Redis: a sorted set per locale whose weights fade (see Trending.lua).
struct Trends: Sendable {
    let redis: RedisClient
    /// Milliseconds.
    let halfLife: Int64

    /// Queries of a locale that are kept, the weightiest.
    static let limit = 1000
    /// Queries of one call: a microsecond or two each.
    private static let chunk = 500

    static func key(_ locale: String) -> String { "trend:{\(locale)}" }
    /// `last:<part>` (what is in it of each shard), `landmark` and `half_life`.
    static func stateKey(_ locale: String) -> String { "trend-state:{\(locale)}" }

    /// What is left of a weight after some time.
    static func fading(from then: Int64, to now: Int64, halfLife: Int64) -> Double {
        exp2(Double(then - now) / Double(halfLife))
    }

    /// Adds searches of a shard; a stretch whose end is not above that of one before is in it already.
    func add(_ recent: [SearchedQuery: SearchBatch.Recent], of shard: SearchShard, upTo last: String) async throws {
        for (locale, searches) in Dictionary(grouping: recent, by: \.key.locale) {
            for start in stride(from: 0, to: searches.count, by: Self.chunk) {
                let some = searches[start..<min(start + Self.chunk, searches.count)]
                let arguments = some.flatMap { [$0.key.text, String($0.value.count), String($0.value.at)] }
                _ = try await redis.send(
                    RedisFunctions.call(
                        "trend_add",
                        keys: [Self.key(locale), Self.stateKey(locale)],
                        ["\(shard).\(start)", last, String(halfLife), String(Self.limit)] + arguments
                    ),
                    repeatable: true
                )
            }
        }
    }
}
