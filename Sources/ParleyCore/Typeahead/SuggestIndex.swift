#if canImport(Glibc)
    internal import Glibc
#endif

/// A query that is suggested.
public struct SuggestEntry: Sendable, Hashable {
    /// As people are shown it; at most `SuggestKeys.longestDisplay` bytes.
    public var display: String
    /// How often it was asked for, or what orders it otherwise; above 0.
    public var weight: Double

    public init(display: String, weight: Double) {
        self.display = display
        self.weight = weight
    }
}

/// A list of suggestions as it is looked up: all entries in the order of their keys, and the heaviest of each prefix
/// that has too many to be ranked when it is asked for.
public struct SuggestIndex: Sendable {
    /// Of a prefix with more completions the heaviest are stored, as many as these; one with fewer is ranked when asked
    /// for.
    public static let width = 16

    /// An entry under one of its keys; the number is that of the entry.
    public struct Row: Sendable {
        fileprivate let start: Int
        fileprivate let length: Int
        public let entry: Int
    }

    /// A prefix with the numbers of its heaviest entries, the heaviest first.
    public struct Prefix: Sendable {
        public let bytes: [UInt8]
        public let entries: [Int]
    }

    public let map: SuggestShardMap
    /// One for all spellings that have the same key, shown in the most frequent one, with the sum of their weights.
    public private(set) var entries: [SuggestEntry] = []
    /// In the order of their keys.
    public private(set) var rows: [Row] = []
    /// In no order.
    public private(set) var prefixes: [Prefix] = []
    private var keys: [UInt8] = []

    /// - Parameter entries: those that are no queries, too long, or without weight are left out.
    public init(_ entries: some Sequence<SuggestEntry>, locale: SuggestLocale, map: SuggestShardMap = .single) {
        self.map = map
        collect(entries, SuggestKeys(locale))
        sort()
        rank()
    }

    /// The key of a row.
    public func key(_ row: Row) -> ArraySlice<UInt8> { keys[row.start..<row.start + row.length] }

    // MARK: Making

    private mutating func collect(_ given: some Sequence<SuggestEntry>, _ keys: SuggestKeys) {
        var numbers: [[UInt8]: Int] = [:]
        var heaviest: [Double] = []
        for var entry in given {
            guard entry.weight > 0, entry.weight.isFinite,
                let display = try? SuggestText.display(of: entry.display.utf8),
                display.utf8.count <= SuggestKeys.longestDisplay, let all = try? keys.keys(of: display.utf8)
            else { continue }
            entry.display = display
            if let number = numbers[all[0]] {
                entries[number].weight += entry.weight
                if entry.weight > heaviest[number] {
                    heaviest[number] = entry.weight
                    entries[number].display = entry.display
                }
                continue
            }
            numbers[all[0]] = entries.count
            for key in all {
                rows.append(Row(start: self.keys.count, length: key.count, entry: entries.count))
                self.keys += key
            }
            entries.append(entry)
            heaviest.append(entry.weight)
        }
    }

    private mutating func sort() {
        let entries = entries
        keys.withUnsafeBytes { keys in
            rows.sort { one, other in
                let order = memcmp(
                    keys.baseAddress! + one.start,
                    keys.baseAddress! + other.start,
                    min(one.length, other.length)
                )
                if order != 0 { return order < 0 }
                if one.length != other.length { return one.length < other.length }
                return entries[one.entry].display.utf8.lexicographicallyPrecedes(entries[other.entry].display.utf8)
            }
        }
    }

    /// Walks down the prefixes, each a range of the rows, as long as they have too many completions or are on several
    /// shards.
    private mutating func rank() {
        var open = [(rows: 0..<rows.count, depth: 0, keystrokes: 0)]
        while let (range, depth, keystrokes) = open.popLast() {
            let first = rows[range.lowerBound..<range.upperBound].first
            guard let first else { continue }
            let prefix = keys[first.start..<first.start + depth]
            guard range.count > Self.width || map.divides(prefix) else { continue }
            // Between the bytes of a character nobody stops.
            let last = rows[range.upperBound - 1]
            let isWhole = last.length == depth || keys[last.start + depth] & 0xC0 != 0x80
            if depth > 0, isWhole { prefixes.append(Prefix(bytes: Array(prefix), entries: heaviest(of: range))) }
            var start = range.lowerBound
            while start < range.upperBound, rows[start].length == depth { start += 1 }
            while start < range.upperBound {
                let byte = keys[rows[start].start + depth]
                var end = start + 1
                while end < range.upperBound, keys[rows[end].start + depth] == byte { end += 1 }
                let strokes = byte & 0xC0 == 0x80 ? keystrokes : keystrokes + 1
                if strokes <= SuggestKeys.longestPrefix { open.append((start..<end, depth + 1, strokes)) }
                start = end
            }
        }
    }

    private func heaviest(of range: Range<Int>) -> [Int] {
        var best: [(weight: Double, entry: Int)] = []
        best.reserveCapacity(Self.width + 1)
        for row in rows[range] {
            let weight = entries[row.entry].weight
            if best.count == Self.width, weight <= best[Self.width - 1].weight { continue }
            let place = best.lastIndex { $0.weight >= weight }.map { $0 + 1 } ?? 0
            best.insert((weight, row.entry), at: place)
            if best.count > Self.width { best.removeLast() }
        }
        return best.map(\.entry)
    }
}

/// An entry of a shard as it stands in the shard's lexicographic set: the key, what is shown, the weight, with NUL
/// between, which no key has. What is shown is left out where it is the key.
public struct SuggestMember: Sendable, Hashable {
    public let bytes: [UInt8]

    public init(key: some Collection<UInt8>, display: String, weight: Double) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(key.count + 24)
        bytes += key
        bytes.append(0)
        if !display.utf8.elementsEqual(key) { bytes += display.utf8 }
        bytes.append(0)
        bytes += Self.text(of: weight).utf8
        self.bytes = bytes
    }

    /// - Returns: nil for what is no member.
    public static func read(_ bytes: some Collection<UInt8>) -> SuggestEntry? {
        let parts = bytes.split(separator: 0, maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, let weight = Double(String(decoding: parts[2], as: UTF8.self)) else { return nil }
        let shown = parts[1].isEmpty ? parts[0] : parts[1]
        return SuggestEntry(display: String(decoding: shown, as: UTF8.self), weight: weight)
    }

    /// As short as it can be read back.
    public static func text(of weight: Double) -> String {
        Int64(exactly: weight).map { String($0) } ?? String(weight)
    }

    /// A shard's is the sum of its members', whatever their order (FNV-1a, 64 bits).
    public static func checksum(of bytes: some Sequence<UInt8>) -> Int64 {
        Int64(bitPattern: bytes.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 })
    }
}
