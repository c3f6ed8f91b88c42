import Logging
import ParleyCore
import ParleyWire
import RedisClient

/// Finishes fan-outs that the commit left pending: recipients in another slot, or whose queue refused the write.
///
/// Anyone may do this at any time, several at once too: each works from the oldest mark of a (conversation, user) on,
/// and a queue skips what it was delivered before.
struct FanOut: Sendable {
    let redis: RedisClient
    let epochs: EpochKeeper
    let queueCap: Int
    let logger: Logger

    /// Delivers what is pending for one member of a conversation.
    /// - Returns: whether nothing is left that could not be delivered.
    func settle(_ conversation: ConversationID, _ user: UserID) async throws -> Bool {
        let lane = Lane(of: conversation)
        while true {
            let listed = try await redis.send(
                RedisFunctions.call(
                    "pending_events",
                    keys: [Keys.pending(lane), Keys.lane(lane)],
                    [conversation.description, user.description, String(lane.number)],
                    readOnly: true
                )
            )
            let parts = (listed.array ?? []).compactMap(\.string)
            guard parts.count >= 3 else { return true }
            var done: [String] = []
            for index in stride(from: 0, to: parts.count - 2, by: 3) {
                let (mark, event) = (parts[index], parts[index + 2])
                // An event that the lane no longer has went with its data; its mark would hold the lane for ever.
                if !event.isEmpty, try await !deliver(event, mark: mark, conversation, user) { break }
                done.append(mark)
            }
            guard !done.isEmpty else { return false }
            _ = try await redis.send(
                RedisFunctions.call("settled", keys: [Keys.pending(lane), Keys.conversation(conversation)], done)
            )
        }
    }

    private func deliver(_ event: String, mark: String, _ conversation: ConversationID, _ user: UserID) async throws
        -> Bool
    {
        let place = mark.split(separator: " ").last.map(String.init) ?? ""
        let answer = try await redis.send(
            RedisFunctions.call(
                "deliver",
                keys: [Keys.epoch, Keys.queue(user), Keys.user(user)],
                [epochs.epoch, conversation.description, user.description, place, event, String(queueCap)]
            )
        ).string
        switch answer {
        case "delivered", "repeat": return true
        default:
            logger.warning("delivery failed", metadata: ["user": "\(user)", "answer": "\(answer ?? "")"])
            return false
        }
    }

    /// Settles every mark of a lane that is older than `age` milliseconds.
    /// - Returns: how many (conversation, user) pairs were looked after.
    func sweep(_ lane: Lane, olderThan age: Int64, now: Int64) async throws -> Int {
        let marks = try await redis.send(
            RedisFunctions.call("pending", keys: [Keys.pending(lane)], ["100"], readOnly: true)
        )
        var seen: Set<[Substring]> = []
        for mark in (marks.array ?? []).compactMap(\.string) {
            let words = mark.split(separator: " ")
            guard words.count == 3, let conversation = ConversationID(words[0]), let user = UserID(words[1]),
                let committed = words[2].split(separator: "-").first.flatMap({ Int64($0) }), committed < now - age,
                seen.insert(Array(words[..<2])).inserted
            else { continue }
            _ = try await settle(conversation, user)
        }
        return seen.count
    }
}
