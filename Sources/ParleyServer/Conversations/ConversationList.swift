import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient

/// A user's view of a conversation.
struct ConversationSummary: Sendable {
    /// What only groups have.
    struct Group: Sendable {
        let title: String
        /// The membership's.
        let version: Int64
        let owner: UserID?
        let admins: [UserID]
    }

    let conversation: ConversationID
    let group: Group?
    /// Of a group in the order of their joining.
    let members: [UserID]
    /// The newest message that the user may see.
    let last: StoredMessage?
    /// Up to where members have read, and got delivered; by their live state. A list has it of the user alone in groups.
    let read: [UserID: Int64]
    let delivered: [UserID: Int64]
    let unread: Int64
}

/// The list of a user's conversations, and single ones of it.
struct ConversationList: Sendable {
    let conversations: ConversationStore

    private var postgres: PostgresPool { conversations.postgres }

    private struct Item {
        let conversation: ConversationID
        let membership: ConversationStore.Membership
        /// The newest message, if the user may see it.
        let last: StoredMessage?

        init(_ conversation: ConversationID, _ membership: ConversationStore.Membership, last: StoredMessage?) {
            self.conversation = conversation
            self.membership = membership
            self.last = last.flatMap { membership.shows($0) ? $0 : nil }
        }

        /// Its place in the list; nil for a direct conversation that nobody has written in.
        var place: MessageID? { [last?.mid, membership.joined?.mid].compactMap(\.self).max() }
    }

    /// All direct conversations of a user that have a message, and all groups, a page of them: the most recently
    /// written in (or, where there is no message, joined) first.
    func page(of user: UserID, before cursor: MessageID?, limit: Int) async throws -> (
        page: [ConversationSummary], next: MessageID?
    ) {
        let rows = try await postgres.query(
            """
            SELECT conversation_id, joined_seq, joined_mid FROM conversation_members
            WHERE user_id = \(user.description) AND left_version IS NULL
            """
        )
        let joined = try rows.decode((String, Int64?, Int64?).self).compactMap { id, seq, mid in
            ConversationID(id).map { ($0, GroupSnapshot.Joined(seq: seq, mid: mid)) }
        }
        let last = try await conversations.history.lastMessages(of: joined.map(\.0))
        var items: [(place: MessageID, item: Item)] = []
        for (conversation, archived) in joined {
            var membership: ConversationStore.Membership? = .init()
            if !conversation.isDirect {
                membership = try await conversations.membership(of: user, in: conversation, archived: archived)
            }
            guard let membership else { continue }
            let item = Item(conversation, membership, last: last[conversation])
            if let place = item.place { items.append((place, item)) }
        }
        let ordered = items.filter { item in cursor.map { item.place < $0 } ?? true }.sorted { $0.place > $1.place }
        let page = Array(ordered.prefix(limit))
        let groups = try await groups(page.map(\.item.conversation).filter { !$0.isDirect })
        var summaries: [ConversationSummary] = []
        for (_, item) in page {
            let (members, group) = self.members(of: item.conversation, groups)
            summaries.append(
                try await summary(item, members, group, positionsOf: group == nil ? members : [user], for: user)
            )
        }
        return (summaries, ordered.count > limit ? page.last?.place : nil)
    }

    /// - Throws: `ConversationStore.Refusal` for a conversation that the user is not in.
    func summary(of conversation: ConversationID, for user: UserID) async throws -> ConversationSummary {
        let membership = try await conversations.membership(of: user, in: conversation)
        let last = try await conversations.history.lastMessages(of: [conversation])[conversation]
        let groups = try await groups(conversation.isDirect ? [] : [conversation])
        let (members, group) = members(of: conversation, groups)
        let item = Item(conversation, membership, last: last)
        return try await summary(item, members, group, positionsOf: members, for: user)
    }

    // MARK: Members

    private typealias Groups = [ConversationID: ([UserID], ConversationSummary.Group)]

    private func members(of conversation: ConversationID, _ groups: Groups) -> ([UserID], ConversationSummary.Group?) {
        if let (lo, hi) = conversation.members { return ([lo, hi], nil) }
        guard let (members, group) = groups[conversation] else { return ([], nil) }
        return (members, group)
    }

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

    private func summary(
        _ item: Item,
        _ members: [UserID],
        _ group: ConversationSummary.Group?,
        positionsOf asked: [UserID],
        for user: UserID
    ) async throws -> ConversationSummary {
        let fields = asked.flatMap { ["read:\($0)", "delivered:\($0)"] } + ["closed"]
        let reply = try await conversations.redis.send(
            RedisCommand(["HMGET", Keys.conversation(item.conversation)] + fields)
        )
        let positions = (reply.array ?? []).map { $0.integer ?? 0 }
        // Who may not write is not seen reading either.
        let closed = reply.array?.last?.string ?? ""
        var (read, delivered): ([UserID: Int64], [UserID: Int64]) = ([:], [:])
        for (index, member) in asked.enumerated()
        where positions.count == fields.count && (member == user || closed != "*" && closed != member.description) {
            read[member] = positions[2 * index]
            delivered[member] = max(positions[2 * index], positions[2 * index + 1])
        }
        // Sequence numbers that lost data left out are nobody's unread.
        let seen = max(read[user] ?? 0, item.membership.joinedSeq)
        let jumps = try await postgres.query(
            """
            SELECT coalesce(sum(to_seq - greatest(after_seq, \(seen))), 0)::bigint FROM conversation_jumps
            WHERE conversation_id = \(item.conversation.description) AND to_seq > \(seen)
            """
        )
        let skipped: [Int64] = try jumps.decode(Int64.self)
        return ConversationSummary(
            conversation: item.conversation,
            group: group,
            members: members,
            last: item.last,
            read: read,
            delivered: delivered,
            unread: max(0, (item.last?.seq ?? 0) - seen - (skipped.first ?? 0))
        )
    }
}
