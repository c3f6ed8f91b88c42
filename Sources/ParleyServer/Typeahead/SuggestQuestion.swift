import ParleyCore
import ParleyWire

/// What somebody asks suggestions for.
struct SuggestQuestion: Sendable, Equatable {
    enum Format: Sendable, Equatable {
        case json
        /// What browsers' search boxes take (OpenSearch Suggestions 1.1).
        case browser
    }

    static let limits = 1...10
    static let defaultLimit = 5

    /// As typed so far, of any content.
    var text: [UInt8]
    var locale = SuggestLocale.fallback
    var limit = defaultLimit
    var format = Format.json

    init(text: [UInt8]) { self.text = text }

    /// - Parameters:
    ///   - query: the part of a URL behind the question mark, as it came.
    /// - Throws: `invalid`, naming the parameter.
    init(query: some Collection<UInt8>, format: Format) throws(HTTPProblem) {
        var text: [UInt8]?
        self.text = []
        self.format = format
        for pair in query.split(separator: UInt8(ascii: "&")) {
            let equals = pair.firstIndex(of: UInt8(ascii: "="))
            let name = pair[..<(equals ?? pair.endIndex)]
            let value = equals.map { pair[pair.index(after: $0)...] }
            if name.elementsEqual("q".utf8) {
                text = try Self.decoded(value, "q")
            } else if name.elementsEqual("locale".utf8) {
                let given = try Self.decoded(value, "locale")
                guard let locale = given.isEmpty ? .fallback : SuggestLocale(String(decoding: given, as: UTF8.self))
                else {
                    throw .invalid("locale", "expected a language, or a language and a country, as ko-KR.")
                }
                self.locale = locale
            } else if name.elementsEqual("limit".utf8) {
                guard let limit = Int(String(decoding: try Self.decoded(value, "limit"), as: UTF8.self)),
                    Self.limits.contains(limit)
                else { throw .invalid("limit", "expected a number from 1 to 10.") }
                self.limit = limit
            }
        }
        guard let text else { throw .invalid("q", "is missing.") }
        self.text = text
    }

    /// Percent-encoding, with + for a space as forms write it.
    private static func decoded(_ value: (some Collection<UInt8>)?, _ name: String) throws(HTTPProblem) -> [UInt8] {
        guard let value else { return [] }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(value.count)
        var rest = value.makeIterator()
        while let byte = rest.next() {
            switch byte {
            case UInt8(ascii: "+"): bytes.append(0x20)
            case UInt8(ascii: "%"):
                guard let high = rest.next().flatMap(Self.digit), let low = rest.next().flatMap(Self.digit) else {
                    throw .invalid(name, "is not percent-encoded as URLs are.")
                }
                bytes.append(high << 4 | low)
            default: bytes.append(byte)
            }
        }
        return bytes
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x37
        case 0x61...0x66: byte - 0x57
        default: nil
        }
    }
}

extension SuggestText.Problem {
    /// What a client is told of its prefix.
    var problem: HTTPProblem {
        switch self {
        case .empty: .invalid("q", "is empty.")
        case .malformed: .invalid("q", "is no UTF-8.")
        case .tooLong: .invalid("q", "has more than \(SuggestText.longestInput) bytes.")
        }
    }
}
