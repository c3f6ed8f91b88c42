/// Under which keys a list has its queries, and which keys a prefix asks for. Keys are bytes and compared as such.
///
/// In general a key is the normalised text. In Korean lists it is the keystrokes, so that half-typed syllables match,
/// and so does what was typed while the keyboard stood on the other language: `gksrmf` finds 한글, ㅗ디ㅣㅐ finds hello.
public struct SuggestKeys: Sendable {
    /// Keystrokes of a prefix that are looked at; longer ones find nothing.
    public static let longestPrefix = 50
    /// Bytes of a query as it is shown; longer ones are no suggestions.
    public static let longestDisplay = 64

    /// In front of keys of first consonants, where nobody can type it.
    private static let initialsMark: UInt8 = 1

    public let locale: SuggestLocale

    public init(_ locale: SuggestLocale) { self.locale = locale }

    /// The keys to find a query by. The first is its own: queries that have the same are one, whichever way they are
    /// written.
    ///
    /// - Throws: `SuggestText.Problem` for what is no query.
    public func keys(of query: some Collection<UInt8>) throws(SuggestText.Problem) -> [[UInt8]] {
        let text = try SuggestText(utf8: query, .query, locale: locale)
        guard locale.isKorean else { return [text.bytes] }
        return [Keystrokes.of(text.bytes)]
            + (Keystrokes.initials(of: text.bytes).map { [[Self.initialsMark] + $0] } ?? [])
    }

    /// What a prefix asks for, in the order in which matches are ranked: all of the first come before those of the
    /// next.
    public struct Lookup: Sendable, Hashable {
        /// The prefix as it is compared.
        public let text: SuggestText
        /// One to four; none for a prefix that is too long to find anything.
        public let keys: [[UInt8]]
    }

    /// - Throws: `SuggestText.Problem` for what is no prefix.
    public func lookup(_ prefix: some Collection<UInt8>) throws(SuggestText.Problem) -> Lookup {
        let text = try SuggestText(utf8: prefix, .prefix, locale: locale)
        guard locale.isKorean else { return Lookup(text: text, keys: Self.within([text.bytes])) }
        let literal = Keystrokes.of(text.bytes)
        var keys = [literal]
        func add(_ key: [UInt8]) { if !keys.contains(key) { keys.append(key) } }
        // The other mode of the keyboard: capitals are Hangul's shifted keys, or Hangul's shifted keys are capitals.
        if let cased = try? SuggestText(utf8: prefix, .prefix, locale: locale, folding: false) {
            add(Keystrokes.of(cased.bytes))
        }
        add(literal.map { 0x41...0x5A ~= $0 ? $0 | 0x20 : $0 })
        if let consonants = Keystrokes.consonants(text.bytes) { add([Self.initialsMark] + consonants) }
        return Lookup(text: text, keys: Self.within(keys))
    }

    /// As many keystrokes as a key takes: characters, of which a keyboard's letters are one each.
    static func keystrokes(_ key: some Sequence<UInt8>) -> Int {
        key.reduce(0) { $1 & 0xC0 == 0x80 ? $0 : $0 + 1 }
    }

    private static func within(_ keys: [[UInt8]]) -> [[UInt8]] { keys.filter { keystrokes($0) <= longestPrefix } }
}
