import NIOCore
import ParleyWire

/// Whoever reads a user's sync queue on an event loop: a socket's session, or a poll that waits. The loop's
/// `SessionHub` tells it what happens to the queue.
protocol QueueReader: AnyObject {
    typealias ID = Int

    var id: ID { get }
    /// Where the hub's wheel has it.
    var slot: Int { get }
    /// What a check of the queue's head asks for; nil while there is no position to check.
    var position: ReaderPosition? { get }

    /// An entry of this user came by. `frame` encodes it for a socket.
    func published(_ entry: PublishedEntry, frame: () -> ByteBuffer)
    func noticed(_ notice: UserNotice)
    /// - Parameter cursorThen: where this reader was when the question was asked.
    func positionChecked(epoch: String, head: Int64, cursorThen: Int64, isRevoked: Bool)
    func epochChanged(to epoch: String)
    /// It is this reader's turn on the wheel.
    func heartbeat()
    /// The gateway ends.
    func drain()
}

struct ReaderPosition {
    let user: UserID
    let login: String
    let cursor: Int64
    /// What is renewed on the way.
    let lease: PresenceLease?
}
