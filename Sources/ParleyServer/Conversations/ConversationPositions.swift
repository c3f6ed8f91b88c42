import ParleyWire
import RedisClient

extension ConversationSummary.Position {
    /// Positions that one call reads, at most: they hold Redis for a third of a millisecond.
    private static let chunk = 150

    /// The positions of users in conversations as one of them may see them.
    static func read(
        _ asked: [(conversation: ConversationID, users: [UserID])],
        for user: UserID,
        from redis: RedisClient
    ) async throws -> [[UserID: ConversationSummary.Position]] {
        var positions: [[UserID: ConversationSummary.Position]] = []
        var rest = asked[...]
        while !rest.isEmpty {
            var (count, users) = (0, 0)
            for each in rest {
                guard count == 0 || users + each.users.count <= chunk else { break }
                (count, users) = (count + 1, users + each.users.count)
            }
            positions += try await read(rest.prefix(count), for: user, from: redis)
            rest = rest.dropFirst(count)
        }
        return positions
    }

    /// In one question.
    private static func read(
        _ asked: ArraySlice<(conversation: ConversationID, users: [UserID])>,
        for user: UserID,
        from redis: RedisClient
    ) async throws -> [[UserID: ConversationSummary.Position]] {
        let call = RedisFunctions.call(
            "receipts",
            keys: asked.map { Keys.conversation($0.conversation) },
            [user.description] + asked.flatMap { [String($0.users.count)] + $0.users.map(\.description) },
            readOnly: true
        )
        let values = (try await redis.send(call, repeatable: true).array ?? []).map(\.integer)
        guard values.count == 3 * asked.reduce(0, { $0 + $1.users.count }) else {
            throw RedisError(.protocolViolation, outcome: .failed, "positions of members")
        }
        var at = 0
        return asked.map { _, users in
            var positions: [UserID: ConversationSummary.Position] = [:]
            for user in users {
                if let read = values[at], let delivered = values[at + 1] {
                    positions[user] = ConversationSummary.Position(
                        read: read,
                        delivered: max(read, delivered),
                        joined: values[at + 2]
                    )
                }
                at += 3
            }
            return positions
        }
    }
}
