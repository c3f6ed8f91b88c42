/// 64-bit FNV-1a (Fowler, Noll, Vo): tells whether a repeated send carries the same content as the first.
///
/// Stable for good: values are stored and compared across versions. It guards against mistakes, not against
/// someone who crafts collisions with their own messages.
public struct ContentHash: Sendable {
    public private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

    public init() {}

    public mutating func update(_ bytes: some Sequence<UInt8>) {
        for byte in bytes { value = (value ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
    }

    /// Adds one of several fields so that their borders count: a tag, the length, the bytes; a missing field
    /// differs from an empty one.
    public mutating func update(field text: String?) {
        guard let text else { return update(CollectionOfOne(0)) }
        update(CollectionOfOne(1))
        withUnsafeBytes(of: UInt64(text.utf8.count).littleEndian) { update($0) }
        update(text.utf8)
    }

    /// The value as sixteen lower-case hexadecimal digits.
    public var hexDigits: String {
        String(unsafeUninitializedCapacity: 16) { text in
            for index in 0..<16 {
                text.initializeElement(at: index, to: UInt8(hexDigit: UInt8(value >> (60 - 4 * UInt64(index)) & 15)))
            }
            return 16
        }
    }

    /// The hash of `bytes` as sixteen lower-case hexadecimal digits.
    public static func fnv1a64(of bytes: some Sequence<UInt8>) -> String {
        var hash = ContentHash()
        hash.update(bytes)
        return hash.hexDigits
    }
}
