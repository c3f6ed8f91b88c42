/// How much the keys of a list are asked for, by their beginnings: what a map of shards is measured by, and made from.
///
/// Somebody who types a query asks for each of its prefixes in turn, so each adds the query's count at its own place among
/// the keys. Beyond ``depth`` bytes all prefixes of one beginning count together, and no bound falls between them.
public struct SuggestWeights: Sendable {
    /// Bytes of a key that are told apart.
    public static let depth = 6
    /// Prefixes of a query that people type: by then they have chosen, or given up.
    private static let typed = 12

    private var weights: [[UInt8]: Double] = [:]

    public init() {}

    public private(set) var total = 0.0

    /// Adds a query by its own key, as ``SuggestKeys/keys(of:)`` says first.
    public mutating func add(_ key: [UInt8], count: Double) {
        var units = 0
        for length in 1...max(1, min(key.count, 4 * Self.typed)) where length <= key.count {
            // A character is typed at once: prefixes end where the next one begins.
            guard length == key.count || key[length] & 0xC0 != 0x80 else { continue }
            weights[Array(key.prefix(min(length, Self.depth))), default: 0] += count
            total += count
            units += 1
            if units == Self.typed { break }
        }
    }

    /// What each shard of a map has to answer.
    public func loads(under map: SuggestShardMap) -> [Double] {
        var loads = [Double](repeating: 0, count: map.count)
        for (key, weight) in weights { loads[map.shard(of: key)] += weight }
        return loads
    }

    /// The greatest load over their mean: 1 is even.
    public static func imbalance(of loads: [Double]) -> Double {
        let total = loads.reduce(0, +)
        guard total > 0, let greatest = loads.max() else { return 1 }
        return greatest * Double(loads.count) / total
    }

    /// The most even map of so many shards: the bound of what a shard may take is halved until no smaller one suffices
    /// (the linear partition problem, by search of the answer).
    ///
    /// - Returns: fewer shards where there are not as many beginnings.
    public func split(into count: Int) -> SuggestShardMap {
        let entries = weights.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        guard count > 1, entries.count > 1 else { return .single }
        var (low, high) = (entries.reduce(0) { max($0, $1.value) }, total)
        for _ in 0..<50 {
            let middle = (low + high) / 2
            if Self.bounds(of: entries, within: middle).count < count { high = middle } else { low = middle }
        }
        return SuggestShardMap(bounds: Self.bounds(of: entries, within: high)) ?? .single
    }

    /// Where shards begin, but for the first, if each takes what it may and no more.
    private static func bounds(of entries: [(key: [UInt8], value: Double)], within limit: Double) -> [[UInt8]] {
        var bounds: [[UInt8]] = []
        var load = 0.0
        for (key, weight) in entries {
            if load > 0, load + weight > limit {
                bounds.append(key)
                load = 0
            }
            load += weight
        }
        return bounds
    }
}
