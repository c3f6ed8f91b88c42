public import NIOCore

/// The client's id of one logical send (`cid`): a UUIDv7 (RFC 9562), whose time tells the server how far back
/// to look for the first attempt. Upper case is read, lower case is written.
public struct ClientMessageID: WireIdentifier {
    /// The first and the last eight bytes, big-endian.
    public let high: UInt64
    public let low: UInt64

    /// Nil unless the version is 7 and the variant that of RFC 9562.
    public init?(high: UInt64, low: UInt64) {
        guard high >> 12 & 15 == 7, low >> 62 == 2 else { return nil }
        self.high = high
        self.low = low
    }

    /// Parses the 36-character form with hyphens.
    public init?(utf8 bytes: UnsafeRawBufferPointer) {
        guard bytes.count == 36, bytes[8] == Self.hyphen, bytes[13] == Self.hyphen, bytes[18] == Self.hyphen,
            bytes[23] == Self.hyphen
        else { return nil }
        var (high, low, isHex) = (UInt64(0), UInt64(0), true)
        func append(_ range: Range<Int>, to word: inout UInt64) {
            for index in range {
                let digit = bytes[index].hexDigitValue
                isHex = isHex && digit != nil
                word = word << 4 | UInt64(digit ?? 0)
            }
        }
        append(0..<8, to: &high)
        append(9..<13, to: &high)
        append(14..<18, to: &high)
        append(19..<23, to: &low)
        append(24..<36, to: &low)
        guard isHex else { return nil }
        self.init(high: high, low: low)
    }

    /// A new id for a send at that time.
    /// - Parameter unixMilliseconds: since 1970, by the server's clock (`now` of `ready`); its low 48 bits are kept.
    public static func random(unixMilliseconds: Int64) -> ClientMessageID {
        var generator = SystemRandomNumberGenerator()
        return random(unixMilliseconds: unixMilliseconds, using: &generator)
    }

    /// As ``random(unixMilliseconds:)``, with random bits from `generator`.
    public static func random(
        unixMilliseconds: Int64,
        using generator: inout some RandomNumberGenerator
    ) -> ClientMessageID {
        let high = UInt64(truncatingIfNeeded: unixMilliseconds) << 16 | 7 << 12 | generator.next() & 0xFFF
        return ClientMessageID(version7: high, generator.next() >> 2 | 2 << 62)
    }

    private init(version7 high: UInt64, _ low: UInt64) {
        self.high = high
        self.low = low
    }

    /// The id's own time, in milliseconds since 1970.
    public var milliseconds: Int64 { Int64(high >> 16) }

    public var description: String {
        String(unsafeUninitializedCapacity: 36) { text in
            fill(UnsafeMutableRawBufferPointer(text))
            return 36
        }
    }

    public func write(into buffer: inout ByteBuffer) {
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 36) { text in
            fill(text)
            return 36
        }
    }

    private func fill(_ text: UnsafeMutableRawBufferPointer) {
        var (high, low) = (high, low)
        for index in 0..<36 {
            if index == 8 || index == 13 || index == 18 || index == 23 {
                text[index] = Self.hyphen
            } else if index < 18 {
                text[index] = UInt8(hexDigit: UInt8(high >> 60))
                high <<= 4
            } else {
                text[index] = UInt8(hexDigit: UInt8(low >> 60))
                low <<= 4
            }
        }
    }

    private static let hyphen = UInt8(ascii: "-")

    public static func < (lhs: ClientMessageID, rhs: ClientMessageID) -> Bool {
        (lhs.high, lhs.low) < (rhs.high, rhs.low)
    }
}
