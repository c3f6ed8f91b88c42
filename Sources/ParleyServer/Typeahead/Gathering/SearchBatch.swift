import ParleyCore

/// Something that can be searched for: normalised, in a locale's list.
struct SearchedQuery: Hashable, Comparable, Sendable {
    let locale: String
    let text: String

    static func < (one: Self, other: Self) -> Bool { (one.locale, one.text) < (other.locale, other.text) }
}

/// What a stretch of a shard's stream comes to, folded in memory.
struct SearchBatch: Sendable {
    struct Row: Hashable, Comparable, Sendable {
        let query: SearchedQuery
        /// Days since 1970, UTC.
        let day: Int32
        /// As it was written.
        let display: String

        static func < (one: Self, other: Self) -> Bool {
            (one.query, one.day, one.display) < (other.query, other.day, other.display)
        }
    }

    struct Count: Sendable, Hashable {
        var counted: Int64 = 0
        /// Kept from the lists that are built, to judge them by.
        var held: Int64 = 0
    }

    struct Recent: Sendable, Hashable {
        var count: Int64 = 0
        /// Of the last, in milliseconds since 1970.
        var at: Int64 = 0
    }

    private(set) var counts: [Row: Count] = [:]
    /// Who searched for it, by pseudonym.
    private(set) var users: [SearchedQuery: Set<[UInt8]>] = [:]
    private(set) var recent: [SearchedQuery: Recent] = [:]
    /// Of the last entry, whatever it was.
    private(set) var last: String?
    /// Entries that were searches.
    private(set) var entries = 0

    /// One search in so many is held.
    static let holding: UInt64 = 20

    /// Adds the next entry; nil for one that is no search. What is too long to be suggested is passed over.
    mutating func add(_ entry: SearchEntry?, id: String) {
        last = id
        guard let entry, let at = id.split(separator: "-").first.flatMap({ Int64($0) }),
            let locale = SuggestLocale(entry.locale),
            let text = try? SuggestText(utf8: entry.text.utf8, .query, locale: locale),
            let display = try? SuggestText.display(of: entry.text.utf8),
            display.utf8.count <= SuggestKeys.longestDisplay
        else { return }
        entries += 1
        let searched = SearchedQuery(locale: locale.description, text: text.string)
        let row = Row(query: searched, day: Int32(at / 86_400_000), display: display)
        // By the id, so that a stretch that is read again is split alike.
        if Self.hash(id) % Self.holding == 0 {
            counts[row, default: Count()].held += entry.weight
        } else {
            counts[row, default: Count()].counted += entry.weight
        }
        if let user = entry.user { users[searched, default: []].insert(user) }
        recent[searched, default: Recent()].count += entry.weight
        recent[searched]?.at = at
    }

    /// FNV-1a, and what mixes its last bits (MurmurHash3's end): ids differ in their last digits alone.
    private static func hash(_ text: String) -> UInt64 {
        var hash = text.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        hash = (hash ^ hash >> 33) &* 0xff51_afd7_ed55_8ccd
        return hash ^ hash >> 33
    }
}
