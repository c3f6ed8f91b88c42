import ParleyWire

/// What a session knows and must not forget over a reconnect; no I/O.
struct SessionState {
    /// The protocol's bound on unanswered sends of a socket.
    static let window = 32

    struct Pending {
        let cid: ClientMessageID
        /// A send, an edit or a deletion.
        let operation: ClientFrame.Operation
        /// On the current socket, and not answered.
        var isInFlight = false
    }

    /// What to do with an event.
    enum Verdict: Equatable {
        case handle
        /// Seen before, or to be handled later.
        case skip
        /// Some before it are missing: read the queue from there.
        case fetch(ClientFrame.Cursor)
    }

    /// Up to where events were told. It stays where it was until a resync is through.
    private(set) var cursor: ClientFrame.Cursor?
    private(set) var pending: [Pending] = []
    /// How far conversations were read, where that could not be said yet.
    private(set) var reads: [ConversationID: Int64] = [:]
    private(set) var isFetching = false
    /// Under way; what its requests bring is to be given to `read`.
    private(set) var resync: Resync?
    /// The last that was told of each conversation: mids only rise within one.
    private var known: [ConversationID: (seq: Int64, mid: MessageID?)]

    /// - Parameter known: of each conversation that the device has something of, the seq of its last message.
    init(resume: ClientFrame.Cursor?, known: [ConversationID: Int64] = [:]) {
        cursor = resume
        self.known = known.mapValues { ($0, nil) }
    }

    /// A socket is signed in; nothing is in flight on it yet.
    /// - Returns: whether a resync begins; one that was under way begins anew.
    mutating func ready(_ ready: ServerFrame.Ready) -> Bool {
        for index in pending.indices { pending[index].isInFlight = false }
        isFetching = false
        if ready.mode != .resync, cursor != nil, resync == nil {
            // The socket before may have brought more by now.
            let q = cursor.map { $0.epoch == ready.epoch ? max($0.q, ready.head) : ready.head } ?? ready.head
            if ready.mode == .live { cursor = .init(epoch: ready.epoch, q: q) }
            return false
        }
        // One that begins anew tells all again that the first was to tell.
        let before: [ConversationID: Int64]? =
            if let resync { resync.known } else if cursor == nil, known.isEmpty { nil } else { known.mapValues(\.seq) }
        resync = Resync(epoch: ready.epoch, head: ready.head, known: before)
        return true
    }

    mutating func receive(_ event: Event, q: Int64) -> Verdict {
        let position = resync.map { .init(epoch: $0.epoch, q: $0.position) } ?? cursor
        guard let position, q > position.q else { return .skip }
        guard q == position.q + 1 else {
            defer { isFetching = true }
            return isFetching ? .skip : .fetch(position)
        }
        guard resync == nil else {
            resync?.hold(event, q: q)
            return .skip
        }
        cursor?.q = q
        return isNews(event) ? .handle : .skip
    }

    /// False for an entry of history that was told before.
    private mutating func isNews(_ event: Event) -> Bool {
        guard event.type.isEntry, let conv = event.conv, let mid = event.mid else { return true }
        return learn(mid, seq: event.seq ?? 0, of: conv)
    }

    /// - Returns: whether the entry is a new one.
    @discardableResult
    private mutating func learn(_ mid: MessageID, seq: Int64, of conversation: ConversationID) -> Bool {
        let last = known[conversation]
        if let lastMid = last?.mid, mid <= lastMid { return false }
        known[conversation] = (max(seq, last?.seq ?? 0), mid)
        return true
    }

    /// The queue was read up to the live events.
    mutating func fetched() {
        isFetching = false
    }

    mutating func add(_ cid: ClientMessageID, _ operation: ClientFrame.Operation) {
        pending.append(Pending(cid: cid, operation: operation))
    }

    /// The sends and changes that may go out now, in order.
    mutating func takeSendable() -> [ClientFrame.Operation] {
        var free = Self.window - pending.count(where: \.isInFlight)
        var operations: [ClientFrame.Operation] = []
        for index in pending.indices where !pending[index].isInFlight && free > 0 {
            pending[index].isInFlight = true
            operations.append(pending[index].operation)
            free -= 1
        }
        return operations
    }

    /// Removes a send that has its answer. False for one that is not pending.
    mutating func answered(_ cid: ClientMessageID) -> Bool {
        guard let index = pending.firstIndex(where: { $0.cid == cid }) else { return false }
        pending.remove(at: index)
        return true
    }

    /// A send is to go out again, after a wait; it counts as unanswered meanwhile.
    mutating func retry(_ cid: ClientMessageID) {
        guard let index = pending.firstIndex(where: { $0.cid == cid }) else { return }
        pending[index].isInFlight = false
    }

    mutating func addRead(_ conversation: ConversationID, upTo seq: Int64) {
        reads[conversation] = max(seq, reads[conversation] ?? 0)
    }

    mutating func takeReads() -> [ConversationID: Int64] {
        defer { reads = [:] }
        return reads
    }
}

// What a resync's requests bring, and what of it is told.
extension SessionState {
    mutating func read(_ page: ConversationPage) -> [ParleySession.Update] {
        listed(resync?.read(page))
    }

    mutating func read(_ conversation: ConversationEntry?) -> [ParleySession.Update] {
        listed(resync?.read(conversation))
    }

    private mutating func listed(_ conversations: [ConversationEntry]?) -> [ParleySession.Update] {
        guard let conversations else { return [] }
        let isListed = Set(conversations.map(\.id))
        known = known.filter { isListed.contains($0.key) }
        if resync?.request == nil {
            // A new device has nothing of what was before it, and knows it.
            for entry in conversations { known[entry.id] = (entry.last?.seq ?? 0, entry.last?.mid) }
        }
        return [.resync(conversations)] + finished()
    }

    mutating func read(_ page: HistoryPage, of conversation: ConversationID) -> [ParleySession.Update] {
        let seq = known[conversation]?.seq ?? 0
        for entry in page.messages { learn(entry.mid, seq: entry.seq, of: conversation) }
        resync?.read(page, of: conversation)
        return [.history(conversation, page.messages, known: seq)] + finished()
    }

    /// The conversation that was to be read is the user's no more.
    mutating func lostConversation() -> [ParleySession.Update] {
        resync?.leave()
        return finished()
    }

    /// What waited, without what history had already; the session goes on behind it.
    private mutating func finished() -> [ParleySession.Update] {
        guard let resync, resync.request == nil else { return [] }
        self.resync = nil
        cursor = .init(epoch: resync.epoch, q: resync.position)
        let events = resync.waiting.filter { isNews($0.event) }
        return events.map { .event(q: $0.q, $0.event) } + [.live(q: resync.position)]
    }
}
