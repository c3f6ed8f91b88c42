import ParleyCore

/// Which lists there are, and into which of them a locale's searches go: its own and its language's where there are such
/// lists, else the one for all others.
struct ListChoice: Sendable {
    let lists: Set<SuggestLocale>

    /// - Parameters:
    ///   - imported: those that have a list in any case.
    ///   - sizes: how many queries of each locale are open.
    ///   - least: from which on it has a list.
    init(imported: Set<SuggestLocale>, sizes: [SuggestLocale: Int], least: Int) {
        // A country's queries are its language's too.
        var totals: [SuggestLocale: Int] = [:]
        for (locale, count) in sizes {
            for list in locale.chain where list != .fallback { totals[list, default: 0] += count }
        }
        lists = imported.union(totals.filter { $0.value >= least }.keys).union([.fallback])
    }

    func lists(of locale: SuggestLocale) -> [SuggestLocale] {
        let own = locale.chain.filter { $0 != .fallback && lists.contains($0) }
        return own.isEmpty ? [.fallback] : own
    }
}
