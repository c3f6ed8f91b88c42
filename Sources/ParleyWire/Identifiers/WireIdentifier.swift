public import NIOCore

/// An identifier as it stands on the wire: a short ASCII text with a grammar of its own.
public protocol WireIdentifier: Hashable, Sendable, Comparable, Codable, LosslessStringConvertible {
    /// Parses the whole of `bytes`; nil unless they follow the identifier's grammar exactly.
    init?(utf8 bytes: UnsafeRawBufferPointer)

    /// Appends the text form, which never needs escaping in JSON.
    func write(into buffer: inout ByteBuffer)
}

extension WireIdentifier {
    public init?(_ text: some StringProtocol) {
        let parsed = text.utf8.withContiguousStorageIfAvailable { Self(utf8: UnsafeRawBufferPointer($0)) }
        guard let identifier = parsed ?? Array(text.utf8).withUnsafeBytes({ Self(utf8: $0) }) else { return nil }
        self = identifier
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let identifier = Self(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a \(Self.self)")
        }
        self = identifier
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }

    public func write(into buffer: inout ByteBuffer) {
        buffer.writeString(description)
    }
}

extension UInt8 {
    var isLowerAlphanumeric: Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self) || isDigit
    }

    var isDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }

    /// The value of a hexadecimal digit of either case.
    var hexDigitValue: UInt8? {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// The lower-case digit of a value below 16.
    init(hexDigit value: UInt8) {
        self = value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }
}

/// Twelve random characters of lower-case Crockford base32: 60 bits.
public func randomName() -> String {
    var generator = SystemRandomNumberGenerator()
    return randomName(using: &generator)
}

func randomName(using generator: inout some RandomNumberGenerator) -> String {
    let alphabet: StaticString = "0123456789abcdefghjkmnpqrstvwxyz"
    var bits = generator.next()
    return String(unsafeUninitializedCapacity: 12) { text in
        for index in 0..<12 {
            text.initializeElement(at: index, to: alphabet.utf8Start[Int(bits & 31)])
            bits >>= 5
        }
        return 12
    }
}
