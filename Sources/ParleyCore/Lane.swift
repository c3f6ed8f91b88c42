public import ParleyWire

/// The shard of the commit log that a conversation belongs to, for good.
public struct Lane: Hashable, Sendable, CustomStringConvertible {
    /// Fixed when a deployment begins: message ids and archive positions depend on it.
    public static let count = 256

    public let number: Int

    public init(number: Int) {
        precondition((0..<Self.count).contains(number))
        self.number = number
    }

    public init(of conversation: ConversationID) {
        number = Int(stableHash(conversation.description) % UInt64(Self.count))
    }

    public static let all = (0..<count).map(Lane.init(number:))

    /// Also the hash tag of the lane's keys.
    public var description: String { "L\(number)" }
}

/// The shard of a user's keys.
public struct UserShard: Hashable, Sendable, CustomStringConvertible {
    public static let count = 1024

    public let number: Int

    public init(of user: UserID) { number = Int(stableHash(user.description) % UInt64(Self.count)) }

    public var description: String { "U\(number)" }
}

/// FNV-1a, 64 bits, folded: the low bits of plain FNV-1a depend on few input bits.
private func stableHash(_ text: String) -> UInt64 {
    let hash = text.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    return hash ^ (hash >> 32)
}
