import NIOCore
import ParleyCore
import ParleyWire
import RedisClient

/// A session and presence: its lease, and what it watches.
extension Session {
    /// So often at most counts that the person is there.
    private static let activePause = TimeAmount.seconds(30)

    /// While it counts as being there.
    var presenceLease: PresenceLease? {
        guard isPresent, let user = identity?.user, let device else { return nil }
        return PresenceLease(user: user, holder: device.description, session: name)
    }

    func enterPresence() {
        isPresent = true
        guard let lease = presenceLease else { return }
        let milliseconds = hub.presence.presence.terms.lease
        hub.presence.enter(lease, milliseconds: milliseconds) { [weak self] in self?.isPresent == true }
    }

    /// The first end counts.
    func leavePresence(after end: PresenceTerms.End) {
        guard let lease = presenceLease else { return }
        isPresent = false
        hub.presence.leave(lease, after: end)
    }

    func watch(_ users: [UserID]) {
        guard let me = identity?.user else { return }
        hub.presence.watch(users, by: self, of: me)
    }

    func personIsActive() {
        guard let user = identity?.user, lastActive + Self.activePause <= .now() else { return }
        lastActive = .now()
        hub.presence.connection.send(PresenceCalls.active(user), repeatable: true) { _ in }
    }

    /// Friendships begin and end with an event.
    func checkWatches(_ event: ByteBuffer) {
        if event.readableBytesView.starts(with: Self.friendEvent) { hub.presence.friendsChanged(of: id) }
    }

    private static let friendEvent = Array(#"{"type":"friend_"#.utf8)
}
