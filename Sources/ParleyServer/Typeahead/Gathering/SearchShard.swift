/// A part of the stream of submitted searches, with one reader at a time. All of a user's stand in one.
struct SearchShard: Hashable, Sendable, CustomStringConvertible {
    let number: Int

    /// As many as the table `search_shards` has rows.
    static let count = 4
    static let all = (0..<count).map(SearchShard.init(number:))
    /// Entries that a shard keeps while nobody reads it, about: beyond, the oldest are lost.
    static let limit = 100_000

    var description: String { "S\(number)" }
    var key: String { "searches:{\(self)}" }
}
