import ParleyCore
import Testing

@Suite struct SuggestKeysTests {
    private let korean = SuggestKeys(SuggestLocale("ko-KR")!)

    private func key(_ query: String) throws -> String {
        String(decoding: try #require(korean.keys(of: query.utf8).first), as: UTF8.self)
    }

    /// At which place of the ranking a prefix finds a query.
    private func rank(of query: String, for prefix: String) throws -> Int? {
        let keys = try korean.keys(of: query.utf8)
        return try korean.lookup(prefix.utf8).keys.firstIndex { asked in keys.contains { $0.starts(with: asked) } }
    }

    @Test(arguments: [
        ("한글", "gksrmf"), ("읽다", "dlfrek"), ("꽃", "Rhc"), ("의사", "dmltk"), ("왜", "dho"), ("없다", "djqtek"),
        ("값", "rkqt"), ("닭갈비", "ekfrrkfql"), ("hello 한글", "hello gksrmf"), ("ㅋㅋㅋ", "zzz"), ("힣", "glg"), ("가", "rk"),
        ("쀍", "Qnpfr"), ("ﾡ", "r"),
    ])
    func `Korean keys are keystrokes`(query: String, keystrokes: String) throws {
        #expect(try key(query) == keystrokes)
    }

    @Test(arguments: ["ㅎ", "하", "한", "한ㄱ", "한그", "한글", "\u{1112}", "하ㄴ", "ㅎㅏ", "gks", "GKS", "ｇｋｓ"])
    func `a half-typed syllable finds the whole word`(prefix: String) throws {
        #expect(try rank(of: "한글", for: prefix) == 0)
    }

    @Test func `a last consonant may be the first of the next syllable`() throws {
        #expect(try rank(of: "읽다", for: "일") == 0)
        #expect(try rank(of: "읽다", for: "읽") == 0)
        #expect(try rank(of: "일기", for: "읽") == 0)
        #expect(try rank(of: "각시", for: "갃") == 0)
        #expect(try rank(of: "한글", for: "한구") == nil)
    }

    @Test func `the keyboard stood on the other language`() throws {
        #expect(try rank(of: "한글", for: "gksrmf") == 0)
        #expect(try rank(of: "hello", for: "ㅗ디ㅣㅐ") == 0)
        #expect(try rank(of: "꽃", for: "Rhc") == 1)
        #expect(try rank(of: "꽃", for: "rhc") == nil)
        #expect(try rank(of: "tom", for: "쏘ㅡ") == nil)
        #expect(try rank(of: "top", for: "쎄") == nil)
        #expect(try rank(of: "the", for: "쏟") == 1)
    }

    @Test func `first consonants find words, below what was typed literally`() throws {
        let literal = try #require(try rank(of: "ㅎㄱ", for: "ㅎㄱ"))
        #expect(try #require(try rank(of: "한글", for: "ㅎㄱ")) > literal)
        #expect(try rank(of: "대한 민국", for: "ㄷㅎㅁㄱ") != nil)
        #expect(try rank(of: "대한민국", for: "ㄷㅎ ㅁ") != nil)
        // An input method joins ㄱ and ㅅ to ㄳ.
        #expect(try rank(of: "감사", for: "ㄳ") != nil)
        #expect(try rank(of: "한글", for: "ㅎ그") == nil)
        #expect(try rank(of: "한글", for: "gr") == nil)
        #expect(try rank(of: "빵집", for: "ㅂㅈ") == nil)
        #expect(try rank(of: "빵집", for: "ㅃㅈ") != nil)
    }

    @Test func `other lists have normalised text as keys`() throws {
        let keys = SuggestKeys(.fallback)
        #expect(try keys.keys(of: "한글".utf8) == [Array("한글".utf8)])
        #expect(try keys.keys(of: "Neue  STRASSE".utf8) == [Array("neue strasse".utf8)])
        #expect(try keys.lookup("Neue ".utf8).keys == [Array("neue ".utf8)])
    }

    @Test func `prefixes of more than fifty keystrokes find nothing`() throws {
        let keys = SuggestKeys(.fallback)
        #expect(try keys.lookup(String(repeating: "é", count: 50).utf8).keys.count == 1)
        #expect(try keys.lookup(String(repeating: "é", count: 51).utf8).keys.isEmpty)
        #expect(try korean.lookup(String(repeating: "한", count: 17).utf8).keys.isEmpty)
    }
}

@Suite struct SuggestFilterTests {
    private func allows(_ kind: SuggestFilter.Rule.Kind, _ rule: String, _ query: String, in locale: String? = nil)
        throws
        -> Bool
    {
        let rule = try SuggestFilter.Rule(kind, rule, in: locale.flatMap { SuggestLocale($0) })
        return SuggestFilter(version: 1, rules: [rule]).allows(query, in: SuggestLocale("ko-KR")!)
    }

    @Test func `exact rules forbid the whole query`() throws {
        #expect(try !allows(.exact, "Bad Word", "bad  WORD"))
        #expect(try allows(.exact, "bad", "bad word"))
    }

    @Test func `word rules forbid the word anywhere`() throws {
        #expect(try !allows(.word, "bad", "very BAD, really"))
        #expect(try !allows(.word, "bad", "(ｂａｄ)"))
        #expect(try !allows(.word, "bad", "b\u{200B}ad day"))
        #expect(try allows(.word, "bad", "badminton"))
        #expect(try allows(.word, "bad", "bаd"), "a Cyrillic а is another letter")
        #expect(try allows(.word, "cafe", "café"))
    }

    @Test(arguments: [
        ("*bad*", "badminton", false), ("bad*", "a bad day", true), ("b?d", "bed", false), ("b?d", "beed", true),
        ("b*d*y", "bad day", false), ("*日本*", "西日本", false), ("?", "?", true),
        ("a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaa", true),
        ("b?d", "b한d", false),
    ])
    func `patterns`(pattern: String, query: String, allowed: Bool) throws {
        guard pattern != "?" else {
            #expect(throws: SuggestText.Problem.empty) { try SuggestFilter.Rule(.pattern, pattern) }
            return
        }
        #expect(try allows(.pattern, pattern, query) == allowed)
    }

    @Test func `rules of a list hold for its countries and for no other`() throws {
        #expect(try !allows(.exact, "bad", "bad", in: "ko"))
        #expect(try !allows(.exact, "bad", "bad", in: "ko-KR"))
        #expect(try allows(.exact, "bad", "bad", in: "ko-KP"))
        #expect(try allows(.exact, "bad", "bad", in: "default"))
        #expect(SuggestFilter().allows("bad", in: .fallback))
    }
}

@Suite struct SuggestShardMapTests {
    @Test func `keys belong to the range that they stand in`() throws {
        let map = try #require(SuggestShardMap(bounds: [Array("g".utf8), Array("mo".utf8)]))
        #expect(map.count == 3)
        for (key, shard) in [("", 0), ("a", 0), ("fz", 0), ("g", 1), ("m", 1), ("mn", 1), ("mo", 2), ("z", 2)] {
            #expect(map.shard(of: key.utf8) == shard)
        }
    }

    @Test func `a prefix whose keys are on several shards is known`() throws {
        let map = try #require(SuggestShardMap(bounds: [Array("g".utf8), Array("mo".utf8)]))
        for (prefix, divided) in [("", true), ("m", true), ("mo", false), ("mon", false), ("g", false), ("f", false)] {
            #expect(map.divides(Array(prefix.utf8)) == divided, "\(prefix)")
        }
    }

    @Test func `bounds rise`() {
        #expect(SuggestShardMap(bounds: [[2], [1]]) == nil)
        #expect(SuggestShardMap(bounds: [[1], [1]]) == nil)
        #expect(SuggestShardMap(bounds: [[]]) == nil)
    }
}
