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
    let queueLimits: String
    let logger: Logger

    /// Delivers what a commit left pending, of a group its chunks too; should that fail, a worker does it.
    func finish(_ conversation: ConversationID, _ pending: PendingDelivery) async {
        do {
            if pending.hasChunks { try await settleChunks(of: conversation) }
            for user in pending.users { _ = try await settle(conversation, user) }
        } catch {
            logger.warning(
                "fan-out left to a worker",
                metadata: ["conversation": "\(conversation)", "error": "\(error)"]
            )
        }
    }

    /// Delivers the chunks of a group, oldest first, until none is left.
    func settleChunks(of group: ConversationID) async throws {
        let lane = Lane(of: group)
        let keys = [
            Keys.epoch, Keys.conversation(group), Keys.lane(lane), Keys.pending(lane), Keys.chunks(group),
            Keys.owed(group),
        ]
        var chunk = ""
        while true {
            // A chunk is `<part> <place> <user,user…>`.
            let users = chunk.split(separator: " ").last?.split(separator: ",").compactMap { UserID($0) } ?? []
            let epoch = epochs.epoch
            let answer = try await redis.send(
                RedisFunctions.call(
                    "chunk",
                    keys: keys + users.map(Keys.queue),
                    [epoch, group.description, String(lane.number), queueLimits, chunk]
                )
            ).string
            guard let answer, !answer.isEmpty, !answer.hasPrefix("epoch") else { return }
            chunk = answer
        }
    }

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
            guard parts.count >= 2 else {
                if !conversation.isDirect { try await clear(conversation, user) }
                return true
            }
            var done: [String] = []
            for index in stride(from: 0, to: parts.count - 1, by: 2) {
                let (mark, event) = (parts[index], parts[index + 1])
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

    /// From now on the user gets the group's chunks again.
    private func clear(_ group: ConversationID, _ user: UserID) async throws {
        let keys = [Keys.pending(Lane(of: group)), Keys.owed(group)]
        _ = try await redis.send(RedisFunctions.call("cleared", keys: keys, [group.description, user.description]))
    }

    private func deliver(_ event: String, mark: String, _ conversation: ConversationID, _ user: UserID) async throws
        -> Bool
    {
        let place = mark.split(separator: " ").last.map(String.init) ?? ""
        let answer = try await redis.send(
            RedisFunctions.call(
                "deliver",
                keys: [Keys.epoch, Keys.queue(user), Keys.user(user)],
                [
                    epochs.epoch, conversation.description, user.description, place, event, queueLimits,
                    Keys.conversation(conversation),
                ]
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
    /// - Returns: how many (conversation, user) pairs were looked after; a group's chunks count as one.
    func sweep(_ lane: Lane, olderThan age: Int64, now: Int64) async throws -> Int {
        let marks = try await redis.send(
            RedisFunctions.call("pending", keys: [Keys.pending(lane)], ["1000"], readOnly: true)
        )
        var seen: Set<[Substring]> = []
        for mark in (marks.array ?? []).compactMap(\.string) {
            let words = mark.split(separator: " ")
            guard words.count == 3, let conversation = ConversationID(words[0]),
                let committed = words[2].split(separator: "-").first.flatMap({ Int64($0) }), committed < now - age
            else { continue }
            let user = UserID(words[1])
            guard seen.insert([words[0], user == nil ? "*" : words[1]]).inserted else { continue }
            if let user { _ = try await settle(conversation, user) } else { try await settleChunks(of: conversation) }
        }
        return seen.count
    }
}

/// Whom a commit could not reach by itself.
struct PendingDelivery: Sendable, Hashable {
    var users: [UserID] = []
    /// Of a group: its list of chunks has what is to be delivered.
    var hasChunks = false

    var isEmpty: Bool { users.isEmpty && !hasChunks }

    /// - Parameter list: user ids with commas between, `*` for chunks, as the commit's functions answer.
    init(_ list: Substring = "") {
        for word in list.split(separator: ",") {
            if let user = UserID(word) { users.append(user) } else { hasChunks = true }
        }
    }
}
