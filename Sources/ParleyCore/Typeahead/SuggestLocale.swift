/// Whose list of suggestions: a language, or a language in a country, as `ko` or `ko-KR`; or the list for all others.
public struct SuggestLocale: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The list of those who have none of their own.
    public static let fallback = SuggestLocale(language: "default", region: nil)

    /// ISO 639, lower case.
    public let language: String
    /// ISO 3166 or UN M.49, upper case.
    public let region: String?

    private init(language: String, region: String?) {
        self.language = language
        self.region = region
    }

    /// As BCP 47 and POSIX write it: `ko`, `ko-KR`, `ko_kr`, `zh-Hant-TW` (of which language and country count),
    /// `default`.
    ///
    /// - Returns: nil for what cannot be a locale.
    public init?(_ text: some StringProtocol) {
        guard text.utf8.count <= 35 else { return nil }
        guard text != Self.fallback.language else {
            self = .fallback
            return
        }
        let parts = text.split(omittingEmptySubsequences: false) { $0 == "-" || $0 == "_" }
        guard parts.allSatisfy({ 1...8 ~= $0.utf8.count && $0.utf8.allSatisfy(\.isAlphanumeric) }),
            let first = parts.first,
            2...3 ~= first.utf8.count, first.utf8.allSatisfy(\.isLetter)
        else { return nil }
        language = first.lowercased()
        // Subtags of extensions and private use follow a single letter.
        region =
            parts.dropFirst().prefix { $0.utf8.count > 1 }.first {
                $0.utf8.count == 2 && $0.utf8.allSatisfy(\.isLetter)
                    || $0.utf8.count == 3 && $0.utf8.allSatisfy(\.isDigit)
            }?.uppercased()
    }

    public var description: String { region.map { "\(language)-\($0)" } ?? language }

    /// The lists to look for, the nearest first: this one, the language's, the one for all others.
    public var chain: [SuggestLocale] {
        var chain = [self]
        if region != nil { chain.append(SuggestLocale(language: language, region: nil)) }
        if self != .fallback { chain.append(.fallback) }
        return chain
    }

    public static func < (one: SuggestLocale, other: SuggestLocale) -> Bool { one.description < other.description }

    /// Keys are keystrokes.
    var isKorean: Bool { language == "ko" }
    /// I is the capital of ı.
    var isTurkic: Bool { language == "tr" || language == "az" }
}

extension UInt8 {
    fileprivate var isLetter: Bool { 0x61...0x7A ~= self | 0x20 }
    fileprivate var isDigit: Bool { 0x30...0x39 ~= self }
    fileprivate var isAlphanumeric: Bool { isLetter || isDigit }
}
