import ParleyCore
import ParleyWire
import RedisClient
import Synchronization

/// How far members of groups have read, and got delivered, told to the other members once in a while.
///
/// Of several steps of a member in a window the last alone is told. What members have read is in Redis already; what was
/// delivered to them gets there from here, by one call a group. It is a courtesy: should this process die, the next message
/// delivered makes up for it.
final class GroupReceipts: Sendable {
    private struct Moved {
        /// Delivered up to here.
        var seq: Int64 = 0
        var hasRead = false
    }

    /// What is to be told of a group.
    private struct Gathering {
        var members: [UserID: Moved] = [:]
        var due: ContinuousClock.Instant
    }

    private let redis: RedisClient
    private let epochs: EpochKeeper
    private let gatherings = Mutex<[ConversationID: Gathering]>([:])

    /// How long positions are gathered: those read, and those only delivered, which change with every message.
    private static let windows = (read: Duration.seconds(1), delivered: Duration.seconds(5))

    /// Members of whom one call tells, at most: with 128 to be told they hold Redis for a third of a millisecond.
    private static let chunk = 32

    init(redis: RedisClient, epochs: EpochKeeper) {
        self.redis = redis
        self.epochs = epochs
    }

    /// - Parameter answer: of `read_group`.
    func read(_ answer: RESPValue, by user: UserID, in group: ConversationID) {
        let words = (answer.string ?? "").split(separator: " ")
        guard words.count == 2, words[0] == "done", let seq = Int64(words[1]) else { return }
        move(Moved(seq: seq, hasRead: true), user, group)
    }

    func delivered(_ seq: Int64, to user: UserID, in group: ConversationID) {
        move(Moved(seq: seq), user, group)
    }

    private func move(_ moved: Moved, _ user: UserID, _ group: ConversationID) {
        // Groups do not take turns together.
        let window = (moved.hasRead ? Self.windows.read : Self.windows.delivered) * Double.random(in: 0.8...1)
        let due = ContinuousClock.now + window
        let isNext = gatherings.withLock { gatherings in
            let isFirst = gatherings[group] == nil
            var gathering = gatherings[group] ?? Gathering(due: due)
            let known = gathering.members[user] ?? Moved()
            gathering.members[user] = Moved(
                seq: max(known.seq, moved.seq),
                hasRead: known.hasRead || moved.hasRead
            )
            let isSooner = due < gathering.due
            if isSooner { gathering.due = due }
            gatherings[group] = gathering
            return isFirst || isSooner
        }
        guard isNext else { return }
        Task {
            try? await Task.sleep(until: due, clock: .continuous)
            let members = gatherings.withLock { gatherings in
                // Otherwise somebody has told it sooner, and this is another one.
                gatherings[group]?.due == due ? gatherings.removeValue(forKey: group)?.members : nil
            }
            if let members { await tell(group, members) }
        }
    }

    /// Tells what was gathered, without waiting any longer.
    func tell() async {
        let all = gatherings.withLock { gatherings in
            defer { gatherings = [:] }
            return gatherings
        }
        await withDiscardingTaskGroup { tasks in
            for (group, gathering) in all { tasks.addTask { await self.tell(group, gathering.members) } }
        }
    }

    private func tell(_ group: ConversationID, _ members: [UserID: Moved]) async {
        var rest = Array(members)[...]
        while !rest.isEmpty {
            let chunk = rest.prefix(Self.chunk)
            do {
                try await tell(group, chunk)
            } catch {
                // Redis is away: perhaps not in a second.
                guard error.code != .closed else { return }
                for (user, moved) in rest { move(moved, user, group) }
                return
            }
            rest = rest.dropFirst(chunk.count)
        }
    }

    private func tell(_ group: ConversationID, _ members: some Collection<(key: UserID, value: Moved)>)
        async throws(RedisError)
    {
        let steps = members.flatMap { [$0.key.description, String($0.value.seq), $0.value.hasRead ? "1" : "0"] }
        let call = RedisFunctions.call(
            "group_receipts",
            keys: [Keys.epoch, Keys.conversation(group), Keys.members(group)],
            [epochs.epoch, group.description] + steps
        )
        _ = try await redis.send(call, repeatable: true)
    }
}

extension [ServerFrame.Receipt] {
    /// - Parameter published: of a group, as `group_receipts` publishes them: `<user>:<read>:<delivered>` each, with commas
    ///   between.
    init(of group: ConversationID, published: Substring) {
        self = published.split(separator: ",").compactMap { text in
            let parts = text.split(separator: ":")
            guard parts.count == 3, let user = UserID(parts[0]) else { return nil }
            return ServerFrame.Receipt(conv: group, user: user, read: Int64(parts[1]), delivered: Int64(parts[2]))
        }
    }
}
