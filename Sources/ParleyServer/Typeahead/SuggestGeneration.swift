import ParleyCore

/// A list of suggestions as it was made once. It never changes; another takes its place.
struct SuggestGeneration: Sendable, Hashable {
    /// Rises with every generation of any list.
    let id: Int32
    let locale: SuggestLocale
    let map: SuggestShardMap
    /// The one in force when this one was begun; nil for none.
    let base: Int32?

    func keys(_ shard: Int) -> ShardKeys { ShardKeys(self, shard) }

    /// The names of a shard's keys in Redis. The text between braces, the same for all generations, decides which
    /// server has them.
    struct ShardKeys: Sendable {
        private let base: String

        init(_ generation: SuggestGeneration, _ shard: Int) {
            base = "ac:{\(generation.locale):\(shard)}:g\(generation.id):"
        }

        /// Written last: the shard is whole.
        var ready: String { base + "ready" }
        /// All entries, in the order of their keys.
        var entries: String { base + "e" }
        /// The heaviest of a prefix.
        func prefix(_ prefix: some Collection<UInt8>) -> String {
            base + "p:" + String(decoding: prefix, as: UTF8.self)
        }
    }

    /// What a generation holds of a shard.
    struct ShardTally: Sendable, Hashable {
        var entries = 0
        var prefixes = 0
        var checksum: Int64 = 0
    }
}

/// The heaviest completions of a prefix, as they stand in PostgreSQL: of each what is shown and the weight, NUL after
/// each.
enum RankedCompletions {
    static func bytes(_ entries: some Sequence<SuggestEntry>) -> [UInt8] {
        var bytes: [UInt8] = []
        for entry in entries {
            bytes += entry.display.utf8
            bytes.append(0)
            bytes += SuggestMember.text(of: entry.weight).utf8
            bytes.append(0)
        }
        return bytes
    }

    static func read(_ bytes: [UInt8]) -> [SuggestEntry] {
        let words = bytes.split(separator: 0, omittingEmptySubsequences: false).map {
            String(decoding: $0, as: UTF8.self)
        }
        return stride(from: 0, to: words.count - 2 + words.count % 2, by: 2).compactMap { at in
            Double(words[at + 1]).map { SuggestEntry(display: words[at], weight: $0) }
        }
    }
}
