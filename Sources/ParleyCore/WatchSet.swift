public import ParleyWire

/// Whose presence a client wants to follow, and of these who are friends: only those are shown.
///
/// The others stay wanted: should one become a friend, their light comes without the client asking again.
public struct WatchSet: Sendable, Equatable {
    /// Friends first.
    private var users: [UserID] = []
    private var litCount = 0

    public init() {}

    public var isEmpty: Bool { users.isEmpty }
    public var wanted: [UserID] { users }
    public var lit: ArraySlice<UserID> { users[..<litCount] }

    /// The client names a new set. Friends among those who stay remain lit.
    /// - Returns: whose light is no longer wanted.
    public mutating func replace(with wanted: [UserID], of me: UserID) -> [UserID] {
        var new = Set(wanted)
        new.remove(me)
        let dropped = lit.filter { !new.contains($0) }
        let kept = lit.filter { new.remove($0) != nil }
        users = kept + new.sorted()
        litCount = kept.count
        return dropped
    }

    /// It was looked up who of the wanted are friends.
    /// - Returns: who became one, and who is none any more.
    public mutating func checked(friends: Set<UserID>) -> (lit: [UserID], unlit: [UserID]) {
        let (before, rest) = (Array(lit), users[litCount...])
        let stay = before.filter { friends.contains($0) }
        let come = rest.filter { friends.contains($0) }
        let go = before.filter { !friends.contains($0) }
        users = stay + come + go + rest.filter { !friends.contains($0) }
        litCount = stay.count + come.count
        return (Array(come), go)
    }
}
