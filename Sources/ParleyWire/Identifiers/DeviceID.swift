/// A device, named by the client: 1 to 64 characters of `[A-Za-z0-9._-]`, unique within a user.
public struct DeviceID: WireIdentifier {
    public let description: String

    public init?(utf8 bytes: UnsafeRawBufferPointer) {
        guard (1...64).contains(bytes.count), bytes.allSatisfy(Self.allows) else { return nil }
        description = String(decoding: bytes, as: UTF8.self)
    }

    public static func < (lhs: DeviceID, rhs: DeviceID) -> Bool {
        lhs.description < rhs.description
    }

    private static func allows(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"): true
        default: byte.isLowerAlphanumeric
        }
    }
}
