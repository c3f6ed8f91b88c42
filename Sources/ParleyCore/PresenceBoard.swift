public import ParleyWire

/// Who watches whom on an event loop, and the last that was heard of each.
///
/// A pair of friends has one channel for both directions. Who needs it can be told from who watches whom, so nothing is
/// kept of the channel itself: a pair costs what its watchers cost.
public struct PresenceBoard {
    /// A session of this event loop, its number shortened: watches that idle are many, and should be small.
    public typealias Watcher = Int32

    /// One of very many: in three words.
    private struct Watched {
        /// Twice the version, and one for online; -1 for nothing known.
        private var stamp: Int64 = -1
        /// -1 for none.
        private var lastActive: Int64 = -1
        var watchers: [Watcher] = []

        var version: Int64 { stamp >> 1 }

        var state: PresenceState? {
            get {
                guard stamp >= 0 else { return nil }
                return PresenceState(
                    isOnline: stamp & 1 == 1,
                    version: version,
                    lastActive: lastActive < 0 ? nil : lastActive
                )
            }
            set {
                stamp = newValue.map { $0.version << 1 | ($0.isOnline ? 1 : 0) } ?? -1
                lastActive = newValue?.lastActive ?? -1
            }
        }
    }

    private var watched: [UserID: Watched] = [:]
    private var userOf: [Watcher: UserID] = [:]

    public init() {}

    public var users: [UserID] { Array(watched.keys) }
    public func state(of user: UserID) -> PresenceState? { watched[user]?.state }
    public func watchers(of user: UserID) -> [Watcher] { watched[user]?.watchers ?? [] }

    /// - Returns: whether the pair's channel is needed from now on.
    public mutating func watch(_ user: UserID, by watcher: Watcher, of me: UserID) -> Bool {
        let wasNeeded = isNeeded(user, me)
        userOf[watcher] = me
        watched[user, default: Watched()].watchers.append(watcher)
        return !wasNeeded
    }

    /// - Returns: whether the pair's channel is needed no more.
    public mutating func unwatch(_ user: UserID, by watcher: Watcher) -> Bool {
        guard let me = userOf[watcher], let index = watched[user]?.watchers.firstIndex(of: watcher) else {
            return false
        }
        watched[user]?.watchers.remove(at: index)
        if watched[user]?.watchers.isEmpty == true { watched[user] = nil }
        return !isNeeded(user, me)
    }

    /// A watcher who watches nobody any more.
    public mutating func forget(_ watcher: Watcher) { userOf[watcher] = nil }

    /// Whether anybody here watches one of the two for the other.
    public func isNeeded(_ pair: FriendPair) -> Bool { isNeeded(pair.lo, pair.hi) }

    private func isNeeded(_ one: UserID, _ other: UserID) -> Bool {
        watched[one]?.watchers.contains { userOf[$0] == other } == true
            || watched[other]?.watchers.contains { userOf[$0] == one } == true
    }

    /// Both directions of a pair are one channel, named once.
    public func pairs() -> Set<FriendPair> {
        var pairs: Set<FriendPair> = []
        for (user, watched) in watched {
            for watcher in watched.watchers { if let me = userOf[watcher] { pairs.insert(FriendPair(user, me)) } }
        }
        return pairs
    }

    /// A change was published.
    /// - Returns: whom to tell: nobody, if something as new or newer is known.
    public mutating func heard(_ user: UserID, _ state: PresenceState) -> [Watcher] {
        guard let known = watched[user], state.version > known.version else { return [] }
        watched[user]?.state = state
        return known.watchers
    }

    /// The picture was read. What was heard since the question counts more if it is newer; otherwise the answer does,
    /// even with a lower version: then Redis has lost what was known.
    /// - Parameter version: known when the question was asked, -1 for none.
    /// - Returns: whom to tell of a change.
    public mutating func read(_ user: UserID, _ state: PresenceState, knownThen version: Int64) -> [Watcher] {
        guard let known = watched[user] else { return [] }
        guard state.version > known.version || known.version == version else { return [] }
        watched[user]?.state = state
        let isChange =
            known.state?.isOnline != state.isOnline
            || !state.isOnline && known.state?.lastActive != state.lastActive
        return isChange ? known.watchers : []
    }
}

/// Two friends, in the order in which their channel names them.
public struct FriendPair: Hashable, Sendable {
    public let lo: UserID
    public let hi: UserID

    public init(_ one: UserID, _ other: UserID) {
        lo = min(one, other)
        hi = max(one, other)
    }

    /// Short: of up to 28 bytes Redis takes 48 for a name, else 64 or more, once for each gateway.
    public var channel: String { "p:\(lo):\(hi)" }
}
