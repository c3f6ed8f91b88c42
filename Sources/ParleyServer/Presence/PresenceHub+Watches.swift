import ParleyCore
import ParleyWire

/// Sessions and what they watch.
extension PresenceHub {
    func watch(_ users: [UserID], by session: Session, of me: UserID) {
        let watch = watches[session.id] ?? Watch(session, of: me)
        watches[session.id] = watch
        watch.replace(with: users, self)
        if watch.isEmpty { forget(session.id) }
    }

    /// A session's list of friends may have changed.
    func friendsChanged(of session: QueueReader.ID) { watches[session]?.check(self) }

    func forget(_ session: QueueReader.ID) {
        guard let watch = watches.removeValue(forKey: session) else { return }
        watch.end(self)
        board.forget(session)
        unfinished.remove(session)
    }

    func isWatching(_ watch: Watch, _ session: QueueReader.ID) -> Bool { watches[session] === watch }

    /// To be asked for again in a second.
    func isUnfinished(_ session: QueueReader.ID) { unfinished.insert(session) }

    func watch(_ users: [UserID], by session: QueueReader.ID, of me: UserID) {
        subscribe(users.filter { board.watch($0, by: session, of: me) }.map { FriendPair($0, me) })
    }

    func unwatch(_ users: [UserID], by session: QueueReader.ID, of me: UserID) {
        unsubscribe(users.filter { board.unwatch($0, by: session) }.map { FriendPair($0, me) })
    }
}
