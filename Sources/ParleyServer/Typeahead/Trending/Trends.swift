import ParleyCore
import RedisClient

#if canImport(Glibc)
    import Glibc
#endif

/// What is searched for more of late, in Redis: of each list a sorted set of normalised queries whose weights fade (see
/// Trending.lua).
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

    /// Adds searches of a shard, each to the lists of its country, its language and all others; a stretch whose end is not
    /// above that of one before is in it already.
    func add(_ recent: [SearchedQuery: SearchBatch.Recent], of shard: SearchShard, upTo last: String) async throws {
        var byList: [String: [String: SearchBatch.Recent]] = [:]
        for (query, searches) in recent {
            for list in SuggestLocale(query.locale)?.chain ?? [] {
                byList[list.description, default: [:]][query.text, default: .init()].count += searches.count
                byList[list.description]?[query.text]?.at = searches.at
            }
        }
        for (list, searches) in byList {
            let searches = Array(searches)
            for start in stride(from: 0, to: searches.count, by: Self.chunk) {
                let some = searches[start..<min(start + Self.chunk, searches.count)]
                let arguments = some.flatMap { [$0.key, String($0.value.count), String($0.value.at)] }
                _ = try await redis.send(
                    RedisFunctions.call(
                        "trend_add",
                        keys: [Self.key(list), Self.stateKey(list)],
                        ["\(shard).\(start)", last, String(halfLife), String(Self.limit)] + arguments
                    ),
                    repeatable: true
                )
            }
        }
    }

    /// The weight of each of these now.
    func weights(of queries: [String], in list: SuggestLocale) async throws -> [Double] {
        guard !queries.isEmpty else { return [] }
        let (key, stateKey) = (Self.key(list.description), Self.stateKey(list.description))
        let state = try await redis.send("HMGET", stateKey, "landmark", "half_life", repeatable: true).array ?? []
        guard state.count == 2, let landmark = state[0].integer, let halfLife = state[1].integer else {
            return queries.map { _ in 0 }
        }
        let fading = Self.fading(from: landmark, to: WallClock.milliseconds(), halfLife: halfLife)
        let scores = try await redis.send(RedisCommand(["ZMSCORE", key] + queries), repeatable: true).array ?? []
        return scores.map { ($0.string.flatMap(Double.init) ?? 0) * fading }
    }
}
