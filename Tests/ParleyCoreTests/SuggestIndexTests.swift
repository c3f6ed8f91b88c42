import ParleyCore
import Testing

@Suite struct SuggestIndexTests {
    /// Each prefix's completions by looking at every query.
    private func heaviest(_ prefix: [UInt8], of index: SuggestIndex) -> [Double] {
        let found = index.rows.filter { index.key($0).starts(with: prefix) }.map { index.entries[$0.entry].weight }
        return Array(found.sorted(by: >).prefix(SuggestIndex.width))
    }

    @Test(arguments: ["default", "ko"])
    func `each heavy prefix has its heaviest, and no other has a set`(locale: String) throws {
        var random = SplitMix64(state: 7)
        let alphabet = Array("aab cé한글ㅎ")
        let entries = (0..<3000).map { _ in
            SuggestEntry(
                display: String(
                    (0..<Int.random(in: 1...6, using: &random)).compactMap { _ in alphabet.randomElement(using: &random)
                    }
                ),
                weight: Double(Int.random(in: 1...100_000, using: &random))
            )
        }
        let map = try #require(SuggestShardMap(bounds: [Array("ab".utf8), Array("c".utf8)]))
        let index = SuggestIndex(entries, locale: try #require(SuggestLocale(locale)), map: map)
        #expect(
            zip(index.rows, index.rows.dropFirst()).allSatisfy {
                !index.key($1).lexicographicallyPrecedes(index.key($0))
            }
        )
        let sets = Dictionary(uniqueKeysWithValues: index.prefixes.map { ($0.bytes, $0.entries) })
        var prefixes: Set<[UInt8]> = []
        for row in index.rows {
            let key = Array(index.key(row))
            for length in 1...key.count where length == key.count || key[length] & 0xC0 != 0x80 {
                prefixes.insert(Array(key[..<length]))
            }
        }
        for prefix in prefixes {
            let count = index.rows.count { index.key($0).starts(with: prefix) }
            let set = sets[prefix].map { $0.map { index.entries[$0].weight } }
            let expected = count > SuggestIndex.width || map.divides(prefix) ? heaviest(prefix, of: index) : nil
            #expect(set == expected, "\(String(decoding: prefix, as: UTF8.self))")
        }
        #expect(sets.keys.allSatisfy { prefixes.contains($0) })
    }

    @Test func `spellings of one query are one, shown as most write it`() {
        let index = SuggestIndex(
            [
                .init(display: "STRASSE", weight: 2), .init(display: "Straße", weight: 5),
                .init(display: "strasse", weight: 4),
                .init(display: "", weight: 5), .init(display: "no weight", weight: 0),
                .init(display: "nan", weight: .nan),
                .init(display: String(repeating: "x", count: 65), weight: 1),
            ],
            locale: .fallback
        )
        #expect(index.entries == [.init(display: "Straße", weight: 11)])
        #expect(index.rows.count == 1)
    }

    @Test(arguments: [("new york", "New York", 12.0), ("a", "a", 0.25), ("x", "x", 1e300), ("gksrmf", "한글", 3)])
    func `members are read back`(key: String, display: String, weight: Double) {
        let member = SuggestMember(key: key.utf8, display: display, weight: weight)
        #expect(SuggestMember.read(member.bytes) == SuggestEntry(display: display, weight: weight))
        #expect(SuggestMember.read(key.utf8) == nil)
    }
}
