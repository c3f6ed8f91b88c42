import ParleyWire

/// How a device gets from history what its queue no longer tells: after an absence too long for the queue, after a
/// change of the epoch, and when it is new. No I/O.
///
/// The session is live from `head`; what comes after it waits here until everything else was read: first the list of
/// conversations, then the history of each. What is told of a conversation begins `depth` messages below the last one
/// that the device knew, for those may have been edited or deleted, and goes on to the end.
///
/// A conversation in which somebody writes while the list is read moves to its top, and is on none of the pages still to
/// come. So those that the device knew and that were not listed are asked for one by one.
struct Resync {
    static let depth: Int64 = 200

    /// What to ask the server for next.
    enum Request: Hashable {
        /// The list from this cursor on.
        case conversations(after: String?)
        /// One that was known and is not listed.
        case conversation(ConversationID)
        case history(ConversationID, HistoryPosition)
    }

    let epoch: String
    /// The last position of the queue that was heard of.
    private(set) var position: Int64
    /// nil when everything was read.
    private(set) var request: Request? = .conversations(after: nil)
    /// What happened since, in order.
    private(set) var waiting: [(q: Int64, event: Event)] = []

    /// Of each conversation that the device had something of before, the seq of the last message. nil for a new device,
    /// which begins with the list alone.
    let known: [ConversationID: Int64]?
    private var conversations: [ConversationEntry] = []
    /// Those still to be asked for, the first of them under way.
    private var unlisted: ArraySlice<ConversationID> = []
    /// Those still to be read, the first of them under way.
    private var unread: ArraySlice<ConversationID> = []

    init(epoch: String, head: Int64, known: [ConversationID: Int64]?) {
        self.epoch = epoch
        position = head
        self.known = known
    }

    mutating func hold(_ event: Event, q: Int64) {
        waiting.append((q, event))
        position = q
    }

    /// - Returns: the whole list once all of it is there.
    mutating func read(_ page: ConversationPage) -> [ConversationEntry]? {
        conversations += page.conversations
        if let next = page.next {
            request = .conversations(after: next)
            return nil
        }
        let listed = Set(conversations.map(\.id))
        unlisted = (known ?? [:]).keys.filter { !listed.contains($0) }.sorted()[...]
        return listOn()
    }

    /// - Parameter conversation: one that was not listed; nil if it is the user's no more.
    /// - Returns: the whole list once all of it is there.
    mutating func read(_ conversation: ConversationEntry?) -> [ConversationEntry]? {
        if let conversation { conversations.append(conversation) }
        unlisted = unlisted.dropFirst()
        return listOn()
    }

    private mutating func listOn() -> [ConversationEntry]? {
        if let next = unlisted.first {
            request = .conversation(next)
            return nil
        }
        if known != nil { unread = conversations.map(\.id)[...] }
        begin()
        return conversations
    }

    mutating func read(_ page: HistoryPage, of conversation: ConversationID) {
        guard page.more, let last = page.messages.last else { return leave() }
        request = .history(conversation, .after(last.mid))
    }

    /// Goes on to the next conversation: this one is at its end, or the user's no more.
    mutating func leave() {
        unread = unread.dropFirst()
        begin()
    }

    private mutating func begin() {
        request = unread.first.map { .history($0, .afterSeq(max(0, (known?[$0] ?? 0) - Self.depth))) }
    }
}
