/// Which shard has which keys of a list: ranges of keys, each from its lower bound to the next one's. Where keys weigh
/// unevenly, so do letters: bounds are set by what was measured.
public struct SuggestShardMap: Sendable, Hashable {
    /// One shard for everything.
    public static let single = SuggestShardMap(bounds: [])!

    /// The lower bounds of all shards but the first, rising.
    public let bounds: [[UInt8]]

    /// - Returns: nil unless the bounds rise and none is empty.
    public init?(bounds: [[UInt8]]) {
        guard bounds.first?.isEmpty != true,
            zip(bounds, bounds.dropFirst()).allSatisfy({ $0.lexicographicallyPrecedes($1) })
        else { return nil }
        self.bounds = bounds
    }

    public var count: Int { bounds.count + 1 }

    /// From 0; of a prefix, the shard that has its sorted set.
    public func shard(of key: some Sequence<UInt8>) -> Int {
        var low = 0
        var high = bounds.count
        while low < high {
            let middle = (low + high) / 2
            if key.lexicographicallyPrecedes(bounds[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }

    /// Whether the keys that begin with `prefix` are on several shards.
    public func divides(_ prefix: some Collection<UInt8>) -> Bool {
        let shard = shard(of: prefix)
        return shard < bounds.count && bounds[shard].starts(with: prefix)
    }
}
