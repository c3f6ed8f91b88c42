/// A sign-in name: 3–32 of `[a-z0-9_.-]`, whatever the case it is given in; stored, compared and shown in lower case.
struct Username: Sendable, Equatable {
    let text: String

    init?(_ given: String) {
        let text = given.lowercased()
        // ASCII before folding too: the Kelvin sign becomes a k.
        guard given.utf8.allSatisfy({ $0 < 0x80 }), (3...32).contains(text.utf8.count),
            text.utf8.allSatisfy(Self.isAllowed)
        else { return nil }
        self.text = text
    }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        case UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "-"): true
        default: false
        }
    }
}

/// A name for people: 1–64 characters after trimming blanks, at most 512 bytes, on one line, without control
/// characters and without those that reverse the direction of the text around them.
struct DisplayName: Sendable, Equatable {
    let text: String
    /// Folded, for searching.
    var key: String { text.lowercased() }

    init?(_ given: String) {
        guard let text = Self.line(given, upTo: 64, bytes: 512) else { return nil }
        self.text = text
    }

    /// A text of one line for people, by these rules; nil where it is empty or too long.
    static func line(_ given: String, upTo characters: Int, bytes: Int) -> String? {
        let text = trimmed(given)
        guard (1...characters).contains(text.count), text.utf8.count <= bytes,
            !text.unicodeScalars.contains(where: isForbidden)
        else { return nil }
        return String(text)
    }

    init(_ username: Username) {
        text = username.text
    }

    private static func trimmed(_ text: String) -> Substring {
        guard let first = text.firstIndex(where: { !$0.isWhitespace }),
            let last = text.lastIndex(where: { !$0.isWhitespace })
        else { return "" }
        return text[first...last]
    }

    private static func isForbidden(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: true
        default: (0x202A...0x202E).contains(scalar.value) || (0x2066...0x2069).contains(scalar.value)
        }
    }
}

/// A password as given: 8–256 bytes of UTF-8, whatever they are.
struct Password: Sendable {
    let text: String

    init?(_ given: String) {
        guard (8...256).contains(given.utf8.count) else { return nil }
        text = given
    }
}

/// A time of day, `HH:MM`.
struct TimeOfDay: Sendable, Equatable, LosslessStringConvertible {
    /// Minutes since midnight, 0–1439.
    let minutes: Int

    init?(minutes: Int) {
        guard (0..<1440).contains(minutes) else { return nil }
        self.minutes = minutes
    }

    init?(_ description: String) {
        let digits = description.utf8.map { Int($0) - Int(UInt8(ascii: "0")) }
        guard digits.count == 5, description.utf8.dropFirst(2).first == UInt8(ascii: ":"),
            [0, 1, 3, 4].allSatisfy({ (0...9).contains(digits[$0]) }),
            digits[0] * 10 + digits[1] < 24, digits[3] < 6
        else { return nil }
        minutes = (digits[0] * 10 + digits[1]) * 60 + digits[3] * 10 + digits[4]
    }

    var description: String {
        let (hours, rest) = minutes.quotientAndRemainder(dividingBy: 60)
        return "\(hours / 10)\(hours % 10):\(rest / 10)\(rest % 10)"
    }
}
