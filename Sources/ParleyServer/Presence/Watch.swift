import NIOCore
import ParleyCore
import ParleyWire

/// What one session watches, confined to its event loop.
final class Watch {
    /// Not to be touched once the hub has forgotten it.
    private unowned let session: Session
    let id: PresenceBoard.Watcher
    let me: UserID
    private var whom = WatchSet()
    private var window = PresenceWindow()
    /// Friends whose first picture is still to come.
    private(set) var owed: [UserID] = []
    /// The client has named its set anew: it gets a picture of each.
    private var owesAll = false
    private var isChecking = false
    private var mustCheckAgain = false

    /// Who are friends could not be looked up.
    var mustCheck: Bool { mustCheckAgain && !isChecking }

    init(_ session: Session, of me: UserID) {
        self.session = session
        id = Self.id(of: session.id)
        self.me = me
    }

    static func id(of session: QueueReader.ID) -> PresenceBoard.Watcher { .init(truncatingIfNeeded: session) }

    var isEmpty: Bool { whom.isEmpty }
    /// Something is still to be asked for, because a store did not answer.
    var isUnfinished: Bool { mustCheckAgain || !owed.isEmpty }

    // MARK: Whom

    /// The client names its whom.
    func replace(with users: [UserID], _ hub: PresenceHub) {
        hub.unwatch(whom.replace(with: users, of: me), by: id, of: me)
        owed = []
        owesAll = true
        check(hub)
    }

    /// Looks up who of the set are friends.
    func check(_ hub: PresenceHub) {
        mustCheckAgain = true
        guard !isChecking else { return }
        (isChecking, mustCheckAgain) = (true, false)
        hub.askForFriends(of: me, among: whom.wanted, for: self)
    }

    /// - Parameter friends: nil for what could not be looked up.
    /// - Returns: channels to subscribe to, before anything that is owed is told.
    func checked(_ friends: Set<UserID>?, _ hub: PresenceHub) -> [FriendPair] {
        isChecking = false
        guard hub.isWatching(self) else { return [] }
        guard let friends else {
            mustCheckAgain = true
            hub.isUnfinished(id)
            return []
        }
        // What was looked up may be of before a change.
        guard !mustCheckAgain else {
            check(hub)
            return []
        }
        let (lit, unlit) = whom.checked(friends: friends)
        hub.unwatch(unlit, by: id, of: me)
        for user in unlit { session.write(Self.frame(user, PresenceState(isOnline: false, version: 0))) }
        owed = owesAll ? Array(whom.lit) : owed.filter { whom.lit.contains($0) } + lit
        owesAll = false
        if !owed.isEmpty { hub.isUnfinished(id) }
        return hub.watch(lit, by: id, of: me)
    }

    func end(_ hub: PresenceHub) { hub.unwatch(Array(whom.lit), by: id, of: me) }

    // MARK: What of them

    /// The picture of a friend was read.
    func tellFirst(_ user: UserID, _ hub: PresenceHub) {
        guard let index = owed.firstIndex(of: user) else { return }
        owed.remove(at: index)
        // An empty array may hold memory, and most watches are idle.
        if owed.isEmpty { owed = [] }
        if takesMore { tell(user, hub) } else { changed(user, hub) }
    }

    /// Its channel is heard, and the first picture was there. Only to be asked of those it watches.
    func hasBeenTold(of user: UserID) -> Bool { !owesAll && !owed.contains(user) }

    func changed(_ user: UserID, _ hub: PresenceHub) {
        guard !owed.contains(user) else { return }
        switch window.changed(user, isWritable: takesMore) {
        case .none: break
        case .tell:
            tell(user, hub)
            endWindowLater(hub)
        case .wait: endWindowLater(hub)
        }
    }

    private func endWindowLater(_ hub: PresenceHub) {
        hub.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(PresenceWindow.length)) {
            guard hub.isWatching(self) else { return }
            let (users, again) = self.window.ended(isWritable: self.takesMore)
            for user in users { self.tell(user, hub) }
            if again { self.endWindowLater(hub) }
        }
    }

    private func tell(_ user: UserID, _ hub: PresenceHub) {
        guard whom.lit.contains(user), let state = hub.board.state(of: user) else { return }
        session.write(Self.frame(user, state))
    }

    private var takesMore: Bool { session.isWritable && session.sync?.phase != .lagging }

    private static func frame(_ user: UserID, _ state: PresenceState) -> ServerFrame {
        ServerFrame(
            .presence(.init(user: user, status: state.isOnline ? .online : .offline, lastActive: state.lastActive))
        )
    }
}
