/// A user: 1 to 64 characters of `[a-z0-9]`, by default twelve of lower-case Crockford base32. Ordered bytewise.
public struct UserID: WireIdentifier {
    public let description: String

    public init?(utf8 bytes: UnsafeRawBufferPointer) {
        guard (1...64).contains(bytes.count), bytes.allSatisfy(\.isLowerAlphanumeric) else { return nil }
        description = String(decoding: bytes, as: UTF8.self)
    }

    private init(trusted text: String) {
        description = text
    }

    /// A new id of 60 random bits. Uniqueness is for the accounts table to enforce.
    public static func random() -> UserID {
        var generator = SystemRandomNumberGenerator()
        return UserID(trusted: randomName(using: &generator))
    }

    public static func < (lhs: UserID, rhs: UserID) -> Bool {
        lhs.description < rhs.description
    }
}
