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

    private struct State {
        var moved: [ConversationID: [UserID: Moved]] = [:]
        /// When it is to be told; nil while there is nothing.
        var due: ContinuousClock.Instant?
    }

    private let redis: RedisClient
    private let epochs: EpochKeeper
    private let state = Mutex(State())

    /// How long positions are gathered: those read, and those only delivered, which change with every message.
    private static let windows = (read: Duration.seconds(1), delivered: Duration.seconds(5))

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
        let due = ContinuousClock.now + (moved.hasRead ? Self.windows.read : Self.windows.delivered)
        let isNext = state.withLock { state in
            let known = state.moved[group]?[user] ?? Moved()
            state.moved[group, default: [:]][user] = Moved(
                seq: max(known.seq, moved.seq),
                hasRead: known.hasRead || moved.hasRead
            )
            guard state.due.map({ due < $0 }) ?? true else { return false }
            state.due = due
            return true
        }
        guard isNext else { return }
        Task {
            try? await Task.sleep(until: due, clock: .continuous)
            await tell()
        }
    }

    /// Tells what was gathered, without waiting any longer.
    func tell() async {
        let groups = state.withLock { state in
            defer { state = State() }
            return state.moved
        }
        await withDiscardingTaskGroup { tasks in
            for (group, members) in groups { tasks.addTask { await self.tell(group, members) } }
        }
    }

    private func tell(_ group: ConversationID, _ members: [UserID: Moved]) async {
        let positions = members.flatMap { [$0.key.description, String($0.value.seq), $0.value.hasRead ? "1" : "0"] }
        let call = RedisFunctions.call(
            "group_receipts",
            keys: [Keys.epoch, Keys.conversation(group), Keys.members(group)],
            [epochs.epoch, group.description, String(Roster.Addressees.chunk)] + positions
        )
        do {
            _ = try await redis.send(call, repeatable: true)
        } catch {
            // Redis is away: perhaps not in a second.
            guard error.code != .closed else { return }
            for (user, moved) in members { move(moved, user, group) }
        }
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
