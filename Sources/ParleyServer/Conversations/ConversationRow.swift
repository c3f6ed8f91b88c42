import ParleyWire
import PostgresClient

/// A user's membership in a conversation and its newest message, by PostgreSQL and what it may lack yet.
struct ConversationRow: Sendable {
    let conversation: ConversationID
    /// Where the list has it: by its newest message, even one that history has dropped since. nil where that is not known
    /// for want of `joined`, and for a direct conversation that nobody has written in.
    let place: MessageID?
    /// Of a group; nil where Redis has yet to be told of the joining.
    let joined: GroupSnapshot.Joined?
    /// Whether the user may see it or not.
    var last: StoredMessage?
    let mute: Mute?
}

/// Finds rows of a user's list. Of all of the user's conversations no more than those asked for leave PostgreSQL.
struct ConversationRows: Sendable {
    let history: History

    private var postgres: PostgresPool { history.postgres }

    enum Selection: Sendable {
        /// What the list has behind a place.
        case page(before: MessageID?, limit: Int)
        case one(ConversationID)
    }

    func conversations(of user: UserID) async throws -> [ConversationID] {
        let rows = try await postgres.query(
            "SELECT conversation_id FROM conversation_members WHERE user_id = \(user.description) AND left_version IS NULL"
        )
        let ids: [String] = try rows.decode(String.self)
        return ids.compactMap { ConversationID($0) }
    }

    /// In the order of the list: the most recently written in (or, where there is no message, joined) first. A page has no
    /// direct conversation without a message.
    func read(_ selection: Selection, of user: UserID, _ unarchived: UnarchivedEntries) async throws
        -> [ConversationRow]
    {
        let rows = try await postgres.query(Self.query(selection, user, unarchived))
        typealias Columns = (String, Int64?, Int64?, Int64?, Int64?, Bool, Int64?)
        let found = try rows.decode(Columns.self).compactMap { id, place, joinedSeq, joinedMid, last, isMuted, until in
            ConversationID(id).map { conversation in
                let mid = last.flatMap { MessageID(rawValue: UInt64($0)) }
                let row = ConversationRow(
                    conversation: conversation,
                    place: place == Self.unknownPlace ? nil : place.flatMap { MessageID(rawValue: UInt64($0)) },
                    joined: GroupSnapshot.Joined(seq: joinedSeq, mid: joinedMid),
                    last: unarchived.last[conversation].flatMap { $0.mid == mid ? $0 : nil },
                    mute: isMuted ? Mute(until: until) : nil
                )
                return (row, mid)
            }
        }
        let missing = found.compactMap { row, mid in row.last == nil ? mid.map { (row.conversation, $0) } : nil }
        let archived = try await history.archive.entries(missing).reduce(into: [:]) { $0[$1.conversation] = $1 }
        return found.map { row, _ in
            var row = row
            row.last = (row.last ?? archived[row.conversation]).map(unarchived.applied)
            return row
        }
    }

    /// Where the list has a group of whose joining nothing is known yet: at its top.
    private static let unknownPlace = Int64.max - 1

    private static func query(_ selection: Selection, _ user: UserID, _ unarchived: UnarchivedEntries) -> PostgresQuery
    {
        let (recent, changes) = (Array(unarchived.last.values), unarchived.groupChanges)
        let (isPage, bound, limit, one): (Bool, Int64, Int, String) =
            switch selection {
            case .page(let cursor, let limit): (true, cursor.map { Int64($0.rawValue) } ?? .max, limit, "")
            case .one(let conversation): (false, 0, 1, conversation.description)
            }
        // A search through the history of each conversation would take its time: conversation_heads has its result.
        return """
            WITH entries AS (
                SELECT conversation_id, coalesce(joined_seq, change.seq) AS joined_seq,
                    coalesce(joined_mid, change.mid) AS joined_mid, greatest(last_mid, recent.mid) AS last_mid
                FROM conversation_members
                LEFT JOIN conversation_heads USING (conversation_id)
                LEFT JOIN unnest(
                    \(recent.map(\.conversation.description))::text[], \(recent.map { Int64($0.mid.rawValue) })::bigint[]
                ) AS recent(conversation_id, mid) USING (conversation_id)
                LEFT JOIN unnest(
                    \(changes.map(\.conversation.description))::text[], \(changes.map { $0.groupVersion ?? 0 })::bigint[],
                    \(changes.map(\.seq))::bigint[], \(changes.map { Int64($0.mid.rawValue) })::bigint[]
                ) AS change(id, version, seq, mid) ON change.id = conversation_id AND version = joined_version
                WHERE user_id = \(user.description) AND left_version IS NULL
                    AND (\(unescaped: isPage ? "true" : "false") OR conversation_id = \(one))
            ), places AS (
                SELECT *, CASE
                    WHEN joined_mid IS NULL AND conversation_id LIKE 'g:%' THEN \(unknownPlace)
                    ELSE greatest(last_mid, joined_mid)
                END AS place
                FROM entries
            ), page AS (
                SELECT * FROM places WHERE \(unescaped: isPage ? "false" : "true") OR place < \(bound)
                ORDER BY place DESC LIMIT \(limit)
            )
            SELECT page.conversation_id, place, joined_seq, joined_mid, last_mid, mute.user_id IS NOT NULL, until
            FROM page
            LEFT JOIN conversation_mutes mute ON mute.user_id = \(user.description)
                AND mute.conversation_id = page.conversation_id AND (until IS NULL OR until > now_ms())
            ORDER BY place DESC
            """
    }
}
