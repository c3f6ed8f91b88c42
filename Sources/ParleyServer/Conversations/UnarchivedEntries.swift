import ParleyCore
import ParleyWire

/// What of a user's conversations is committed and perhaps not archived. Read before PostgreSQL is: what is archived
/// meanwhile is seen there.
struct UnarchivedEntries: Sendable {
    /// The newest message of each conversation that has one.
    private(set) var last: [ConversationID: StoredMessage] = [:]
    /// Changes of groups, by which members may have joined.
    private(set) var groupChanges: [StoredMessage] = []
    /// Of messages, archived ones too.
    private var changes: [MessageID: [StoredMessage]] = [:]

    /// - Throws: `HistoryError.backlogTooLong`; what a store says.
    init(of conversations: [ConversationID], _ history: History) async throws {
        let archived = try await history.positions.all()
        var positions: [Lane: UInt64] = [:]
        for lane in Set(conversations.map(Lane.init(of:))) { positions[lane] = archived[lane.number] }
        let tails = try await history.commitLog.tails(after: positions, of: Set(conversations))
        let (entries, changes) = tails.separated()
        for entry in entries where entry.type == .message { last[entry.conversation] = entry }
        groupChanges = entries.filter { $0.groupVersion != nil }
        self.changes = changes
    }

    /// A message in its present state.
    func applied(to message: StoredMessage) -> StoredMessage {
        var message = message
        for change in changes[message.mid] ?? [] { message.apply(change) }
        return message
    }
}
