public import NIOCore

/// A conversation: `d:<lo>:<hi>` between two users, their ids sorted bytewise so that two who open it at once
/// meet in it, or `g:<id>` for a group, its id following the grammar of user ids.
public struct ConversationID: WireIdentifier {
    private enum Storage: Hashable {
        case direct(UserID, UserID)
        case group(UserID)
    }

    // Short ids are stored inside the String, so this form copies and hashes without touching the heap.
    private let storage: Storage

    private init(_ storage: Storage) {
        self.storage = storage
    }

    public init?(utf8 bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 2, bytes[1] == UInt8(ascii: ":") else { return nil }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[2...])
        switch bytes[0] {
        case UInt8(ascii: "d"):
            guard let colon = rest.firstIndex(of: UInt8(ascii: ":")),
                let lo = UserID(utf8: UnsafeRawBufferPointer(rebasing: rest[..<colon])),
                let hi = UserID(utf8: UnsafeRawBufferPointer(rebasing: rest[(colon + 1)...])),
                lo < hi
            else { return nil }
            storage = .direct(lo, hi)
        case UInt8(ascii: "g"):
            guard let id = UserID(utf8: rest) else { return nil }
            storage = .group(id)
        default:
            return nil
        }
    }

    /// The conversation of two different users, whichever of them comes first. Nobody has one with themselves:
    /// its text would not parse, and callers refuse it before.
    public static func direct(_ a: UserID, _ b: UserID) -> ConversationID {
        ConversationID(a < b ? .direct(a, b) : .direct(b, a))
    }

    /// The group of that id; nil unless it is 1 to 64 characters of `[a-z0-9]`.
    public static func group(_ id: some StringProtocol) -> ConversationID? {
        UserID(id).map { ConversationID(.group($0)) }
    }

    public static func randomGroup() -> ConversationID {
        ConversationID(.group(.random()))
    }

    /// The two users of a direct conversation, sorted bytewise; nil for a group.
    public var members: (lo: UserID, hi: UserID)? {
        if case .direct(let lo, let hi) = storage { (lo, hi) } else { nil }
    }

    public var isDirect: Bool { members != nil }

    /// The other user of a direct conversation; nil for a group, or if `user` is not one of the two.
    public func peer(of user: UserID) -> UserID? {
        guard let (lo, hi) = members else { return nil }
        return user == lo ? hi : user == hi ? lo : nil
    }

    public var description: String {
        switch storage {
        case .direct(let lo, let hi): "d:\(lo.description):\(hi.description)"
        case .group(let id): "g:\(id.description)"
        }
    }

    public func write(into buffer: inout ByteBuffer) {
        switch storage {
        case .direct(let lo, let hi):
            buffer.writeStaticString("d:")
            lo.write(into: &buffer)
            buffer.writeStaticString(":")
            hi.write(into: &buffer)
        case .group(let id):
            buffer.writeStaticString("g:")
            id.write(into: &buffer)
        }
    }

    public static func < (lhs: ConversationID, rhs: ConversationID) -> Bool {
        lhs.description < rhs.description
    }
}
