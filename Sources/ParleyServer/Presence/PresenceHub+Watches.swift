import ParleyCore
import ParleyWire

/// Sessions and what they watch.
extension PresenceHub {
    func watch(_ users: [UserID], by session: Session, of me: UserID) {
        let id = Watch.id(of: session.id)
        let watch = watches[id] ?? Watch(session, of: me)
        watches[id] = watch
        watch.replace(with: users, self)
        if watch.isEmpty { forget(session.id) }
    }

    /// A session's list of friends may have changed.
    func friendsChanged(of session: QueueReader.ID) { watches[Watch.id(of: session)]?.check(self) }

    func forget(_ session: QueueReader.ID) {
        let id = Watch.id(of: session)
        guard let watch = watches.removeValue(forKey: id) else { return }
        watch.end(self)
        board.forget(id)
        unfinished.remove(id)
    }

    func isWatching(_ watch: Watch) -> Bool { watches[watch.id] === watch }

    /// To be asked for again in a second.
    func isUnfinished(_ session: PresenceBoard.Watcher) { unfinished.insert(session) }

    /// - Returns: whose channels are needed from now on.
    func watch(_ users: [UserID], by session: PresenceBoard.Watcher, of me: UserID) -> [FriendPair] {
        users.filter { board.watch($0, by: session, of: me) }.map { FriendPair($0, me) }
    }

    func unwatch(_ users: [UserID], by session: PresenceBoard.Watcher, of me: UserID) {
        unsubscribe(users.filter { board.unwatch($0, by: session) }.map { FriendPair($0, me) })
    }
}
