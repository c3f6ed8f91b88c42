import ParleyWire
import PostgresClient

/// Takes a user who is gone out of all groups: as if they had left by themselves, so that an owner has an heir.
struct GroupFarewell: Sendable {
    let outbox: GroupOutbox

    private static let page = 100

    func userIsGone(_ user: UserID) async throws {
        while true {
            let rows = try await outbox.store.postgres.query(
                """
                SELECT conversation_id FROM conversation_members
                WHERE user_id = \(user.description) AND conversation_id LIKE 'g:%' AND left_version IS NULL
                LIMIT \(Int64(Self.page))
                """
            )
            let ids: [String] = try rows.decode(String.self)
            for group in ids.compactMap({ ConversationID($0) }) {
                try await outbox.store.perform(.remove(user), by: user, in: group, limit: 0)
                try await outbox.settle(group)
            }
            if ids.count < Self.page { return }
        }
    }
}
