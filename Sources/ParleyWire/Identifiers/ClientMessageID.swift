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
        guard bytes.count == 36 else { return nil }
        var high: UInt64 = 0
        var low: UInt64 = 0
        for (index, byte) in bytes.enumerated() {
            if Self.isHyphen(index) {
                guard byte == UInt8(ascii: "-") else { return nil }
                continue
            }
            guard let digit = byte.hexDigitValue else { return nil }
            if index < 18 { high = high << 4 | UInt64(digit) } else { low = low << 4 | UInt64(digit) }
        }
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
            if Self.isHyphen(index) {
                text[index] = UInt8(ascii: "-")
            } else if index < 18 {
                text[index] = UInt8(hexDigit: UInt8(high >> 60))
                high <<= 4
            } else {
                text[index] = UInt8(hexDigit: UInt8(low >> 60))
                low <<= 4
            }
        }
    }

    private static func isHyphen(_ index: Int) -> Bool {
        index == 8 || index == 13 || index == 18 || index == 23
    }

    public static func < (lhs: ClientMessageID, rhs: ClientMessageID) -> Bool {
        (lhs.high, lhs.low) < (rhs.high, rhs.low)
    }
}
