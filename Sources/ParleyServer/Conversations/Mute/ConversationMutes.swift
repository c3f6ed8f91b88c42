import ParleyWire
import PostgresClient

/// A user wants no noise from a conversation.
struct Mute: Sendable, Hashable {
    /// Milliseconds since 1970; nil for no end.
    let until: Int64?
}

/// Who has muted which conversation. A mute whose time is up is none.
struct ConversationMutes: Sendable {
    let postgres: PostgresPool

    func set(_ mute: Mute, of user: UserID, in conversation: ConversationID) async throws {
        _ = try await postgres.query(
            """
            INSERT INTO conversation_mutes (user_id, conversation_id, until)
            VALUES (\(user.description), \(conversation.description), \(mute.until))
            ON CONFLICT (user_id, conversation_id) DO UPDATE SET until = excluded.until
            """
        )
    }

    func remove(of user: UserID, in conversation: ConversationID) async throws {
        _ = try await postgres.query(
            """
            DELETE FROM conversation_mutes
            WHERE user_id = \(user.description) AND conversation_id = \(conversation.description)
            """
        )
    }

    func mute(of user: UserID, in conversation: ConversationID) async throws -> Mute? {
        let rows = try await postgres.query(
            """
            SELECT until FROM conversation_mutes
            WHERE user_id = \(user.description) AND conversation_id = \(conversation.description)
                AND (until IS NULL OR until > now_ms())
            """
        )
        let found: [Int64?] = try rows.decode(Int64?.self)
        return found.first.map(Mute.init(until:))
    }

    /// Those of these users who want no noise from a conversation now.
    func muted(_ users: [UserID], in conversation: ConversationID) async throws -> Set<UserID> {
        let rows = try await postgres.query(
            """
            SELECT user_id FROM conversation_mutes
            WHERE user_id = ANY(\(users.map(\.description))::text[]) AND conversation_id = \(conversation.description)
                AND (until IS NULL OR until > now_ms())
            """
        )
        let found: [String] = try rows.decode(String.self)
        return Set(found.compactMap { UserID($0) })
    }
}
