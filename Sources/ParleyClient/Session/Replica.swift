public import ParleyWire

/// A device's copy of its user's conversations: the same as the server's once all updates of a ``ParleySession`` were
/// applied, in order. No I/O.
///
/// It begins with the device's first session; what is older is read when somebody wants to see it, and added.
public struct Replica: Sendable {
    public struct Conversation: Sendable, Hashable {
        /// As it was when it was last read; titles and members follow events. nil until then: of a conversation that
        /// began since, and that ``ParleyAPI/conversation(_:token:)`` tells.
        public var entry: ConversationEntry?
        /// Oldest first, without gaps up to the newest.
        public internal(set) var messages: [HistoryMessage] = []
    }

    public let user: UserID
    public private(set) var conversations: [ConversationID: Conversation] = [:]

    public init(user: UserID) {
        self.user = user
    }

    /// Of each conversation the seq of its last message: what ``ParleySession/Configuration/known`` asks for.
    public var known: [ConversationID: Int64] {
        conversations.compactMapValues { $0.messages.last?.seq ?? $0.entry?.last?.seq }
    }

    public mutating func apply(_ update: ParleySession.Update) {
        switch update {
        case .resync(let entries):
            // What was kept may be stale, and comes again.
            conversations = [:]
            for entry in entries { conversations[entry.id] = Conversation(entry: entry) }
        case .history(let conversation, let messages, _): add(messages, to: conversation)
        case .event(_, let event): apply(event)
        case .ready, .live, .ephemeral, .disconnected: break
        }
    }

    /// Adds a page that was read, of whichever direction, next to what is there.
    public mutating func add(_ messages: [HistoryMessage], to conversation: ConversationID) {
        for message in messages { conversations[conversation, default: Conversation()].add(message) }
    }

    private mutating func apply(_ event: Event) {
        guard let conv = event.conv else { return }
        if event.type == .memberRemoved, event.user == user {
            conversations[conv] = nil
        } else if let entry = HistoryMessage(event) {
            conversations[conv, default: Conversation()].add(entry)
            conversations[conv]?.entry?.apply(event)
        } else {
            conversations[conv]?.change(event)
        }
    }
}

extension Replica.Conversation {
    /// Puts an entry in its place, once; of two the one that was changed later.
    fileprivate mutating func add(_ message: HistoryMessage) {
        let index = messages.lastIndex { $0.mid <= message.mid }
        guard let index, messages[index].mid == message.mid else {
            return messages.insert(message, at: index.map { $0 + 1 } ?? 0)
        }
        if message.rev ?? 0 > messages[index].rev ?? 0 { messages[index] = message }
    }

    /// An edit or a deletion. A message that is not here comes with its history as it is then.
    fileprivate mutating func change(_ event: Event) {
        guard event.type == .edited || event.type == .deleted, let rev = event.rev,
            let index = messages.lastIndex(where: { $0.mid == event.mid }), messages[index].rev ?? 0 < rev
        else { return }
        messages[index].rev = rev
        messages[index].body = event.body
        guard event.type == .deleted else { return }
        messages[index].deleted = true
        (messages[index].body, messages[index].data, messages[index].replyTo) = (nil, nil, nil)
    }
}

extension ConversationEntry {
    /// Title and members after what an event tells.
    fileprivate mutating func apply(_ event: Event) {
        if event.type == .conversation { title = event.title ?? title }
        version = event.version ?? version
        guard let user = event.user else { return }
        switch event.type {
        case .memberRemoved: members.removeAll { $0 == user }
        case .memberAdded where !members.contains(user): members.append(user)
        default: break
        }
    }
}
