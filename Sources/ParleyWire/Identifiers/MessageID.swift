public import NIOCore

/// A message's id, derived from its position in the commit log: 41 bits of milliseconds since
/// 2025-01-01T00:00Z, 10 bits of lane, 12 bits of sequence. In time order, strictly increasing within a
/// conversation; a decimal string in JSON, since it passes 2^53.
public struct MessageID: WireIdentifier, RawRepresentable {
    /// 2025-01-01T00:00Z in milliseconds since 1970.
    public static let epochUnixMilliseconds: Int64 = 1_735_689_600_000

    /// Below 2^63.
    public let rawValue: UInt64

    /// Nil at 2^63 and above.
    public init?(rawValue: UInt64) {
        guard rawValue >> 63 == 0 else { return nil }
        self.rawValue = rawValue
    }

    /// - Parameter milliseconds: since 2025-01-01T00:00Z.
    /// - Returns: nil unless the parts fit: milliseconds below 2^41, lane below 1024, sequence below 4096.
    public init?(milliseconds: Int64, lane: Int, sequence: Int) {
        guard 0..<(1 << 41) ~= milliseconds, 0..<1024 ~= lane, 0..<4096 ~= sequence else { return nil }
        rawValue = UInt64(milliseconds) << 22 | UInt64(lane) << 12 | UInt64(sequence)
    }

    /// The id of the log entry `<unixMilliseconds>-<sequence>` of a lane; nil unless the parts fit.
    public init?(unixMilliseconds: Int64, lane: Int, sequence: Int) {
        let (milliseconds, overflow) = unixMilliseconds.subtractingReportingOverflow(Self.epochUnixMilliseconds)
        guard !overflow else { return nil }
        self.init(milliseconds: milliseconds, lane: lane, sequence: sequence)
    }

    /// A decimal number below 2^63 without sign or leading zeros.
    public init?(utf8 bytes: UnsafeRawBufferPointer) {
        guard (1...19).contains(bytes.count), bytes.count == 1 || bytes[0] != UInt8(ascii: "0") else { return nil }
        var value: UInt64 = 0
        for byte in bytes {
            guard byte.isDigit else { return nil }
            // Nineteen digits stay below 2^64.
            value = value * 10 + UInt64(byte - UInt8(ascii: "0"))
        }
        self.init(rawValue: value)
    }

    /// Milliseconds since 2025-01-01T00:00Z.
    public var milliseconds: Int64 { Int64(rawValue >> 22) }

    /// Milliseconds since 1970.
    public var unixMilliseconds: Int64 { milliseconds + Self.epochUnixMilliseconds }

    public var lane: Int { Int(rawValue >> 12 & 1023) }

    public var sequence: Int { Int(rawValue & 4095) }

    public var description: String { String(rawValue) }

    public func write(into buffer: inout ByteBuffer) {
        buffer.writeDecimal(rawValue)
    }

    public static func < (lhs: MessageID, rhs: MessageID) -> Bool {
        lhs.rawValue < rhs.rawValue
    }
}
