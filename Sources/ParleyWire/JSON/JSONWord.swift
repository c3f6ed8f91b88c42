/// Finds what ends a plain stretch of a JSON string, eight bytes at a time.
enum JSONWord {
    private static let ones: UInt64 = 0x0101_0101_0101_0101
    private static let highBits: UInt64 = 0x8080_8080_8080_8080

    /// The first position from `start` on of a quote, a backslash or a control character, or `bytes.count`.
    @inline(__always)
    static func firstSpecial(in bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
        var index = start
        while index &+ 8 <= bytes.count {
            let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            let quote = word ^ (ones &* 0x22)
            let backslash = word ^ (ones &* 0x5C)
            // A byte's high bit is set where it is zero, or below 0x20. A borrow can mark bytes only above a true
            // hit, and the lowest is the one taken.
            let hits =
                (word &- ones &* 0x20) & ~word | (quote &- ones) & ~quote | (backslash &- ones) & ~backslash
            if hits & highBits != 0 { return index &+ (hits & highBits).trailingZeroBitCount / 8 }
            index &+= 8
        }
        while index < bytes.count {
            let byte = bytes[index]
            if byte < 0x20 || byte == 0x22 || byte == 0x5C { break }
            index &+= 1
        }
        return index
    }

    /// Whether a NUL is among `bytes`.
    static func containsNUL(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var index = 0
        while index &+ 8 <= bytes.count {
            let word = bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            if (word &- ones) & ~word & highBits != 0 { return true }
            index &+= 8
        }
        return bytes[index...].contains(0)
    }
}
