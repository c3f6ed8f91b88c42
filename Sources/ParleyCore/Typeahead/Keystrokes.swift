/// Hangul as it is typed on the two-set keyboard (KS X 5002), each jamo by the letter on its key: 한글 is `gksrmf`, the
/// capitals are typed with shift. A half-typed syllable is thereby a prefix of the whole one, which no form of Unicode
/// makes it: ㅎ, 하 and 한 all begin 한글, although 한 is another character than 하 and its last ㄴ another jamo than a first.
enum Keystrokes {
    private static let initials = [
        "r", "R", "s", "e", "E", "f", "a", "q", "Q", "t", "T", "d", "w", "W", "c", "z", "x", "v", "g",
    ]
    private static let vowels = [
        "k", "o", "i", "O", "j", "p", "u", "P", "h", "hk", "ho", "hl", "y", "n", "nj", "np", "nl", "b", "m", "ml", "l",
    ]
    private static let finals = [
        "", "r", "R", "rt", "s", "sw", "sg", "e", "f", "fr", "fa", "fq", "ft", "fx", "fv", "fg", "a", "q", "qt", "t",
        "T",
        "d", "w", "c", "z", "x", "v", "g",
    ]

    private static let syllables: ClosedRange<UInt32> = 0xAC00...0xD7A3
    private static let leading: ClosedRange<UInt32> = 0x1100...0x1112
    private static let medial: ClosedRange<UInt32> = 0x1161...0x1175
    private static let trailing: ClosedRange<UInt32> = 0x11A8...0x11C2

    /// Of a text in NFKC, in which the keyboard's own jamo (ㅎ) are conjoining ones; what is no Hangul stays as it is.
    static func of(_ text: [UInt8]) -> [UInt8] {
        guard text.contains(where: { $0 >= 0x80 }) else { return text }
        var keys: [UInt8] = []
        keys.reserveCapacity(2 * text.count)
        for scalar in String(decoding: text, as: UTF8.self).unicodeScalars {
            switch scalar.value {
            case syllables:
                let index = Int(scalar.value - syllables.lowerBound)
                keys += initials[index / 588].utf8
                keys += vowels[index % 588 / 28].utf8
                keys += finals[index % 28].utf8
            case leading: keys += initials[Int(scalar.value - leading.lowerBound)].utf8
            case medial: keys += vowels[Int(scalar.value - medial.lowerBound)].utf8
            case trailing: keys += finals[Int(scalar.value - trailing.lowerBound) + 1].utf8
            default: keys += UTF8.encode(scalar)!
            }
        }
        return keys
    }

    /// The first consonant of each syllable, without spaces: 한글 is `gr`.
    ///
    /// - Returns: nil unless there are at least two syllables.
    static func initials(of text: [UInt8]) -> [UInt8]? {
        var keys: [UInt8] = []
        var count = 0
        for scalar in String(decoding: text, as: UTF8.self).unicodeScalars {
            switch scalar.value {
            case syllables:
                keys += initials[Int(scalar.value - syllables.lowerBound) / 588].utf8
                count += 1
            case 0x20: break
            default: keys += UTF8.encode(scalar)!
            }
        }
        return count >= 2 ? keys : nil
    }

    /// The keystrokes of a text of consonants alone, without spaces; nil for any other. ㄱ and ㅅ, which an input method
    /// joins to ㄳ, are two.
    static func consonants(_ text: [UInt8]) -> [UInt8]? {
        let scalars = String(decoding: text, as: UTF8.self).unicodeScalars.filter { $0 != " " }
        guard scalars.allSatisfy({ leading.contains($0.value) || trailing.contains($0.value) }) else { return nil }
        let keys = of(text).filter { $0 != 0x20 }
        return keys.count >= 2 ? keys : nil
    }
}
