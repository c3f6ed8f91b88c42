/// What is never suggested. Rules are compared with normalised texts (`SuggestText`), so that case, width and invisible
/// characters do not get around them; what NFKC leaves apart, such as a Cyrillic а for a Latin a, takes a rule of its
/// own.
public struct SuggestFilter: Sendable {
    public struct Rule: Sendable, Hashable {
        public enum Kind: String, Sendable, CaseIterable {
            /// The whole query.
            case exact
            /// Any word of it. Words are what stands between characters that are neither letter, mark nor digit: in
            /// languages that write without spaces, use a pattern.
            case word
            /// The whole query, where `*` stands for any characters and `?` for one: `*word*` is found anywhere.
            case pattern
        }

        public let kind: Kind
        /// Normalised.
        public let text: String
        /// Whose lists; nil for all. A language's rules hold for its countries.
        public let locale: SuggestLocale?

        /// - Throws: `SuggestText.Problem`; `.empty` also for a pattern of nothing but `*` and `?`, which would forbid
        ///   all.
        public init(_ kind: Kind, _ text: String, in locale: SuggestLocale? = nil) throws(SuggestText.Problem) {
            self.kind = kind
            self.text = try SuggestText(utf8: text.utf8, .query).string
            self.locale = locale
            if kind == .pattern, self.text.allSatisfy({ "*? ".contains($0) }) { throw .empty }
        }
    }

    private struct Rules {
        var exact: Set<String> = []
        var words: Set<String> = []
        var patterns: [[Unicode.Scalar]] = []
    }

    /// Rises with every change of the rules; 0 where there never was one.
    public let version: Int64
    public let rules: [Rule]
    private let byLocale: [SuggestLocale?: Rules]

    public init(version: Int64 = 0, rules: [Rule] = []) {
        self.version = version
        self.rules = rules
        var byLocale: [SuggestLocale?: Rules] = [:]
        for rule in rules {
            switch rule.kind {
            case .exact: byLocale[rule.locale, default: Rules()].exact.insert(rule.text)
            case .word: byLocale[rule.locale, default: Rules()].words.insert(rule.text)
            case .pattern: byLocale[rule.locale, default: Rules()].patterns.append(Array(rule.text.unicodeScalars))
            }
        }
        self.byLocale = byLocale
    }

    /// - Parameters:
    ///   - query: as it is shown, or normalised.
    ///   - locale: whose list it stands in.
    public func allows(_ query: String, in locale: SuggestLocale) -> Bool {
        guard !byLocale.isEmpty else { return true }
        let applying = ([nil] + locale.chain.filter { $0 != .fallback || locale == .fallback }).compactMap {
            byLocale[$0]
        }
        guard !applying.isEmpty else { return true }
        guard let text = try? SuggestText(utf8: query.utf8, .query).string else { return false }
        lazy var words = Self.words(of: text)
        lazy var scalars = Array(text.unicodeScalars)
        return !applying.contains { rules in
            rules.exact.contains(text)
                || !rules.words.isEmpty && words.contains { rules.words.contains($0) }
                || rules.patterns.contains { Self.matches(scalars, $0) }
        }
    }

    private static func words(of text: String) -> [String] {
        text.unicodeScalars.split { scalar in
            switch scalar.properties.generalCategory {
            case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter,
                .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .letterNumber, .otherNumber:
                false
            default: true
            }
        }.map { String($0) }
    }

    /// Goes back to the last `*` alone, so that no pattern takes longer than the product of the lengths.
    static func matches(_ text: [Unicode.Scalar], _ pattern: [Unicode.Scalar]) -> Bool {
        var (at, place) = (0, 0)
        var star: (pattern: Int, text: Int)?
        while at < text.count {
            if place < pattern.count, pattern[place] == "*" {
                star = (place, at)
                place += 1
            } else if place < pattern.count, pattern[place] == "?" || pattern[place] == text[at] {
                place += 1
                at += 1
            } else if let last = star {
                star = (last.pattern, last.text + 1)
                place = last.pattern + 1
                at = last.text + 1
            } else {
                return false
            }
        }
        return pattern[place...].allSatisfy { $0 == "*" }
    }
}
