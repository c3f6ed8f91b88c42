import ParleyWire

/// What a session knows and must not forget over a reconnect; no I/O.
struct SessionState {
    /// The protocol's bound on unanswered sends of a socket.
    static let window = 32

    struct Pending {
        let send: ClientFrame.Send
        /// On the current socket, and not answered.
        var isInFlight = false
    }

    /// What to do with an event.
    enum Verdict: Equatable {
        case handle
        /// Seen before.
        case skip
        /// Some before it are missing: read the queue from the cursor.
        case fetch
    }

    private(set) var cursor: ClientFrame.Cursor?
    private(set) var pending: [Pending] = []
    private(set) var isFetching = false
    /// Of each conversation, the highest message seen: mids only rise within one.
    private var lastMessage: [ConversationID: MessageID] = [:]

    init(resume: ClientFrame.Cursor?) {
        cursor = resume
    }

    /// A socket is signed in; nothing is in flight on it yet.
    mutating func ready(_ ready: ServerFrame.Ready) {
        for index in pending.indices { pending[index].isInFlight = false }
        isFetching = false
        if ready.mode != .replay || cursor == nil { cursor = .init(epoch: ready.epoch, q: ready.head) }
    }

    mutating func receive(_ event: Event, q: Int64) -> Verdict {
        guard let position = cursor?.q, q > position else { return .skip }
        guard q == position + 1 else {
            defer { isFetching = true }
            return isFetching ? .skip : .fetch
        }
        cursor?.q = q
        guard event.type == .message, let conv = event.conv, let mid = event.mid else { return .handle }
        if let last = lastMessage[conv], mid <= last { return .skip }
        lastMessage[conv] = mid
        return .handle
    }

    /// The queue was read up to the live events.
    mutating func fetched() {
        isFetching = false
    }

    mutating func add(_ send: ClientFrame.Send) {
        pending.append(Pending(send: send))
    }

    /// The sends that may go out now, in order.
    mutating func takeSendable() -> [ClientFrame.Send] {
        var free = Self.window - pending.count(where: \.isInFlight)
        var sends: [ClientFrame.Send] = []
        for index in pending.indices where !pending[index].isInFlight && free > 0 {
            pending[index].isInFlight = true
            sends.append(pending[index].send)
            free -= 1
        }
        return sends
    }

    /// Removes a send that has its answer. False for one that is not pending.
    mutating func answered(_ cid: ClientMessageID) -> Bool {
        guard let index = pending.firstIndex(where: { $0.send.cid == cid }) else { return false }
        pending.remove(at: index)
        return true
    }

    /// A send is to go out again, after a wait; it counts as unanswered meanwhile.
    mutating func retry(_ cid: ClientMessageID) {
        guard let index = pending.firstIndex(where: { $0.send.cid == cid }) else { return }
        pending[index].isInFlight = false
    }
}
