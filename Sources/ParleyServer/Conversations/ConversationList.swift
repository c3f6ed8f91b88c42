import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient

/// The list of a user's conversations, and single ones of it. What is asked of the stores is the same for one row and for
/// a page of them.
struct ConversationList: Sendable {
    let conversations: ConversationStore

    private var postgres: PostgresPool { conversations.postgres }
    private var rows: ConversationRows { ConversationRows(history: conversations.history) }

    /// What a summary is made of, but for the members' positions.
    private struct Item {
        let conversation: ConversationID
        let place: MessageID?
        let membership: ConversationStore.Membership
        /// The newest message, if the user may see it.
        let last: StoredMessage?
        let mute: Mute?

        init(_ row: ConversationRow, _ membership: ConversationStore.Membership) {
            conversation = row.conversation
            place = row.place ?? membership.joined?.mid
            self.membership = membership
            last = row.last.flatMap { membership.shows($0) ? $0 : nil }
            mute = row.mute
        }
    }

    /// All direct conversations of a user that have a message, and all groups, a page of them: the most recently
    /// written in (or, where there is no message, joined) first.
    func page(of user: UserID, before cursor: MessageID?, limit: Int) async throws -> (
        page: [ConversationSummary], next: MessageID?
    ) {
        let unarchived = try await UnarchivedEntries(of: rows.conversations(of: user), conversations.history)
        let found = try await rows.read(.page(before: cursor, limit: limit + 1), of: user, unarchived)
        var items: [Item] = []
        for row in found.prefix(limit) {
            if let item = try await item(row, for: user) { items.append(item) }
        }
        let summaries = try await summaries(items, for: user)
        return (summaries, found.count > limit ? found[limit - 1].place ?? items.last?.place : nil)
    }

    /// - Throws: `ConversationStore.Refusal` for a conversation that the user is not in.
    func summary(of conversation: ConversationID, for user: UserID) async throws -> ConversationSummary {
        try await conversations.requireMember(user, of: conversation)
        let unarchived = try await UnarchivedEntries(of: [conversation], conversations.history)
        guard let row = try await rows.read(.one(conversation), of: user, unarchived).first,
            let item = try await item(row, for: user),
            let summary = try await summaries([item], for: user).first
        else {
            // Removed meanwhile, mostly.
            try await conversations.requireMember(user, of: conversation)
            throw ConversationStore.Refusal.epochChanged
        }
        return summary
    }

    /// - Returns: nil if the user was removed meanwhile.
    private func item(_ row: ConversationRow, for user: UserID) async throws -> Item? {
        if row.conversation.isDirect { return Item(row, ConversationStore.Membership()) }
        let membership = try await conversations.membership(of: user, in: row.conversation, archived: row.joined)
        return membership.map { Item(row, $0) }
    }

    // MARK: Members

    private typealias Groups = [ConversationID: ([UserID], ConversationSummary.Group)]

    private func groups(_ ids: [ConversationID]) async throws -> Groups {
        guard !ids.isEmpty else { return [:] }
        let rows = try await postgres.query(
            """
            SELECT id, title, member_version, user_id, role
            FROM conversations JOIN conversation_members ON conversation_id = id AND left_version IS NULL
            WHERE id = ANY(\(ids.map(\.description))::text[]) ORDER BY joined_version, user_id
            """
        )
        var found: [String: (title: String, version: Int64, members: [(UserID, String)])] = [:]
        for (id, title, version, user, role) in try rows.decode((String, String, Int64, String, String).self) {
            guard let user = UserID(user) else { continue }
            found[id, default: (title, version, [])].members.append((user, role))
        }
        var groups: Groups = [:]
        for (id, group) in found {
            guard let conversation = ConversationID(id) else { continue }
            let summary = ConversationSummary.Group(
                title: group.title,
                version: group.version,
                owner: group.members.first { $0.1 == "owner" }?.0,
                admins: group.members.filter { $0.1 == "admin" }.map(\.0)
            )
            groups[conversation] = (group.members.map(\.0), summary)
        }
        return groups
    }

    // MARK: Positions

    private func summaries(_ items: [Item], for user: UserID) async throws -> [ConversationSummary] {
        guard !items.isEmpty else { return [] }
        let groups = try await groups(items.map(\.conversation).filter { !$0.isDirect })
        let members = items.map { item in
            item.conversation.members.map { [$0, $1] } ?? groups[item.conversation]?.0 ?? []
        }
        let asked = zip(items, members).map { item, members in
            (
                conversation: item.conversation,
                users: members.contains(user) ? members : [user]
            )
        }
        let positions = try await ConversationSummary.Position.read(asked, for: user, from: conversations.redis)
        let jumps = try await jumps(in: items.map(\.conversation))
        return items.indices.map { index in
            let item = items[index]
            // Sequence numbers that lost data left out are nobody's unread.
            let seen = max(positions[index][user]?.read ?? 0, item.membership.joinedSeq)
            let unread = (item.last?.seq ?? 0) - seen - (jumps[item.conversation]?.numbers(after: seen) ?? 0)
            return ConversationSummary(
                conversation: item.conversation,
                group: groups[item.conversation]?.1,
                members: members[index],
                last: item.last,
                positions: positions[index],
                unread: max(0, unread),
                mute: item.mute
            )
        }
    }

    private func jumps(in conversations: [ConversationID]) async throws -> [ConversationID: RangeSet<Int64>] {
        let rows = try await postgres.query(
            """
            SELECT conversation_id, after_seq, to_seq FROM conversation_jumps
            WHERE conversation_id = ANY(\(conversations.map(\.description))::text[])
            """
        )
        var jumps: [ConversationID: RangeSet<Int64>] = [:]
        for (id, after, to) in try rows.decode((String, Int64, Int64).self) where to > after {
            guard let conversation = ConversationID(id) else { continue }
            jumps[conversation, default: RangeSet()].insert(contentsOf: after + 1..<to + 1)
        }
        return jumps
    }
}

extension RangeSet<Int64> {
    /// How many it has above one.
    fileprivate func numbers(after number: Int64) -> Int64 {
        ranges.reduce(0) { $0 + max(0, $1.upperBound - Swift.max($1.lowerBound, number + 1)) }
    }
}
