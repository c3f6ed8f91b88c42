import ParleyCore
import Testing

@Suite struct SuggestTextTests {
    private static func normalised(_ text: String, _ role: SuggestText.Role = .query, in locale: String = "default")
        throws -> String
    {
        try SuggestText(utf8: text.utf8, role, locale: #require(SuggestLocale(locale))).string
    }

    @Test(arguments: [
        ("New  York", "new york"), ("  new\tyork \r\n", "new york"), ("new\u{A0}york", "new york"),
        ("STRASSE", "strasse"), ("straße", "strasse"), ("STRAẞE", "strasse"),
        ("ΣΊΣΥΦΟΣ", "σίσυφοσ"), ("σίσυφος", "σίσυφοσ"),
        ("Ｆｕｌｌ　ｗｉｄｔｈ", "full width"), ("ﬁle", "file"), ("①②", "12"), ("x²", "x2"), ("𝓑𝓪𝓭", "bad"),
        ("cafe\u{301}", "café"), ("CAFÉ", "café"),
        ("ﾊﾝｶｸ", "ハンカク"), ("東京　タワー", "東京 タワー"),
        ("한글", "한글"), ("\u{1112}\u{1161}\u{11AB}\u{1100}\u{1173}\u{11AF}", "한글"),
        ("İstanbul", "istanbul"), ("ISPARTA", "isparta"), ("ısparta", "ısparta"),
        ("b\u{0}a\u{7F}d\u{9F}", "bad"), ("ba\u{200B}\u{AD}\u{200D}\u{FEFF}d", "bad"),
        ("\u{202E}abc\u{202C}\u{2066}def\u{2069}", "abcdef"), ("שלום", "שלום"), ("ﻻ", "لا"),
        // These look alike, and are other letters to Unicode.
        ("bаd", "bаd"), ("b4d", "b4d"), ("ƅad", "ƅad"),
    ])
    func `texts are compared in one form`(given: String, form: String) throws {
        #expect(Array(try Self.normalised(given).utf8) == Array(form.utf8))
        #expect(try Self.normalised(form) == form, "normalising again changes nothing")
    }

    @Test func `what only looks alike stays apart`() throws {
        #expect(try Self.normalised("bаd") != Self.normalised("bad"))
    }

    @Test(arguments: [("ISPARTA", "ısparta"), ("İstanbul", "istanbul"), ("istanbul", "istanbul")])
    func `Turkish has two letters i`(given: String, form: String) throws {
        #expect(try Self.normalised(given, in: "tr") == form)
        #expect(try Self.normalised(given, in: "az-AZ") == form)
    }

    @Test func `a space at the end of a prefix says that the word is complete`() throws {
        #expect(try Self.normalised(" New  ", .prefix) == "new ")
        #expect(try Self.normalised(" New  ", .query) == "new")
    }

    @Test(arguments: ["", " \t\u{3000}", "\u{0}\u{1}", "\u{200B}\u{FEFF}"])
    func `nothing is left of some texts`(given: String) {
        #expect(throws: SuggestText.Problem.empty) { try Self.normalised(given, .prefix) }
    }

    @Test(
        arguments: [
            [0xED, 0xA0, 0x80], [0xED, 0xA0, 0xBD, 0xED, 0xB8, 0x80], [0x61, 0xFF], [0xC0, 0x80], [0x61, 0xE3, 0x81],
            [0x80],
            [0xF4, 0x90, 0x80, 0x80],
        ] as [[UInt8]]
    )
    func `lone surrogates and other bytes that are no text`(given: [UInt8]) {
        #expect(throws: SuggestText.Problem.malformed) { try SuggestText(utf8: given, .query) }
        #expect(throws: SuggestText.Problem.malformed) { try SuggestText.display(of: given) }
    }

    @Test func `a text that is too long, or becomes so`() {
        #expect(throws: SuggestText.Problem.tooLong) { try Self.normalised(String(repeating: "a", count: 10_000)) }
        #expect(throws: SuggestText.Problem.tooLong) { try Self.normalised(String(repeating: "\u{FDFA}", count: 170)) }
        #expect(throws: Never.self) { try Self.normalised(String(repeating: "a", count: 512)) }
    }

    @Test(arguments: [
        (" New\tYork ", "New York"), ("Straße", "Straße"), ("cafe\u{301}", "café"), ("a\u{202E}b", "ab"), ("ｶﾅ", "ｶﾅ"),
    ])
    func `texts are shown as they were written`(given: String, shown: String) throws {
        #expect(try Array(SuggestText.display(of: given.utf8).utf8) == Array(shown.utf8))
    }

    @Test(arguments: [
        ("ko", "ko"), ("ko-KR", "ko-KR"), ("KO_kr", "ko-KR"), ("zh-Hant-TW", "zh-TW"), ("es-419", "es-419"),
        ("en-u-ca-gregory", "en"), ("default", "default"), ("en-x-DE", "en"),
    ])
    func `locales are read as BCP 47 and POSIX write them`(given: String, locale: String) {
        #expect(SuggestLocale(given)?.description == locale)
    }

    @Test(arguments: [
        "", "k", "ko-", "-KR", "ko--KR", "../../etc", "한국", "ko KR", "k0", "en-DE-toolongsubtag", "ko-KR\u{0}",
    ])
    func `what is no locale`(given: String) { #expect(SuggestLocale(given) == nil) }

    @Test func `locales fall back to their language, then to the list of all others`() {
        #expect(SuggestLocale("ko-KR")?.chain.map(\.description) == ["ko-KR", "ko", "default"])
        #expect(SuggestLocale("ko")?.chain.map(\.description) == ["ko", "default"])
        #expect(SuggestLocale("default")?.chain.map(\.description) == ["default"])
    }
}
