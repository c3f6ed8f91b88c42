import ParleyWire
import PostgresClient
import RedisClient

/// Closes the direct conversations of a user who is gone: the other one keeps the history, and nobody writes any more.
struct DirectFarewell: Sendable {
    let postgres: PostgresPool
    let redis: RedisClient

    /// The membership's version of a conversation that one of the two has left for good; while it is open it is 1. The
    /// commit refuses sends that name another version than the one in force, and who asks why learns that the user is
    /// gone.
    private static let closedVersion = "2"
    private static let page = 500

    func userIsGone(_ user: UserID) async throws {
        while true {
            let rows = try await postgres.query(
                """
                SELECT conversation_id FROM conversation_members
                WHERE user_id = \(user.description) AND conversation_id LIKE 'd:%' LIMIT \(Int64(Self.page))
                """
            )
            let ids: [String] = try rows.decode(String.self)
            try await close(ids.compactMap { ConversationID($0) })
            // Only now: were it forgotten first, nobody would know what is still open.
            _ = try await postgres.query(
                """
                DELETE FROM conversation_members
                WHERE user_id = \(user.description) AND conversation_id = ANY(\(ids)::text[])
                """
            )
            if ids.count < Self.page { return }
        }
    }

    private func close(_ conversations: [ConversationID]) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for conversation in conversations {
                group.addTask {
                    // Also where Redis does not know the conversation: whoever opens it now has seen the user alive.
                    let key = Keys.conversation(conversation)
                    _ = try await redis.send("HSET", key, "mv", Self.closedVersion, repeatable: true)
                }
            }
            try await group.waitForAll()
        }
    }
}
