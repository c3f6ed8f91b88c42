/// Which keys share a server: two hash tags in one place can be written by one function call, others cannot.
public enum RedisPlacement: Sendable, Hashable {
    /// One server holds everything.
    case singleServer
    /// Keys are placed by Redis Cluster's hash slots: only tags of the same slot share a call.
    case hashSlots

    /// - Parameters: hash tags, the text between the braces of a key.
    public func areColocated(_ one: String, _ other: String) -> Bool {
        switch self {
        case .singleServer: true
        case .hashSlots: Self.slot(ofTag: one) == Self.slot(ofTag: other)
        }
    }

    /// The slot of a hash tag: CRC-16/XMODEM modulo 16384 (Redis Cluster specification, "Key distribution model").
    public static func slot(ofTag tag: String) -> Int {
        var crc: UInt16 = 0
        for byte in tag.utf8 {
            crc ^= UInt16(byte) << 8
            for _ in 0..<8 { crc = crc & 0x8000 != 0 ? (crc << 1) ^ 0x1021 : crc << 1 }
        }
        return Int(crc % 16384)
    }
}
