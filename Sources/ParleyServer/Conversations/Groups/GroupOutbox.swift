import Logging
import ParleyCore
import ParleyWire
import RedisClient

/// Brings the changes of groups from PostgreSQL to Redis, where they take their place among the messages.
///
/// Anyone may do this at any time, several at once too: Redis applies each change once, at the version before it, and a
/// row leaves the outbox only with the archiving of its entry.
struct GroupOutbox: Sendable {
    let store: GroupStore
    let redis: RedisClient
    let history: History
    let epochs: EpochKeeper
    let commit: CommitConfiguration
    let fanOut: FanOut

    enum Failure: Error, Hashable {
        case noSuchGroup
        /// Redis is in another epoch than this process knows.
        case epochChanged
        /// Others are changing the group so quickly that this process could not keep up.
        case contended
    }

    private static let attempts = 50

    /// Applies what Redis lacks, and makes the group known to this epoch where it is not.
    /// - Returns: who is in it then.
    /// - Throws: `Failure`, or what a store says.
    @discardableResult
    func settle(_ group: ConversationID) async throws -> Roster {
        do {
            return try await settleOnce(group)
        } catch Failure.epochChanged {
            try await epochs.verify(on: redis)
            return try await settleOnce(group)
        }
    }

    private func settleOnce(_ group: ConversationID) async throws -> Roster {
        var roster = try await roster(of: group)
        for change in try await store.changes(of: group) {
            var attempts = 0
            while roster.version < change.version {
                attempts += 1
                guard attempts < Self.attempts else { throw Failure.contended }
                // Others may have applied what comes before it, and archived it, since Redis was asked.
                let isNext = roster.version == change.version - 1
                roster = try await isNext ? apply(change, to: roster, of: group) : self.roster(of: group)
            }
        }
        return roster
    }

    /// - Returns: the members in force afterwards, whether it was this call that applied the change or not.
    private func apply(_ change: GroupChange, to roster: Roster, of group: ConversationID) async throws -> Roster {
        switch try await request(change, roster, group) {
        case .changed(let mid, let pending):
            epochs.acknowledged(mid)
            if !pending.isEmpty { Task { await fanOut.finish(group, pending) } }
            return make(group, change.version, change.applied(to: roster.members))
        case .roster(let version, let members): return make(group, version, members)
        case .seed: return try await seed(group)
        case .epoch: throw Failure.epochChanged
        }
    }

    /// Asks Redis to apply a change, told to the members of a roster and those who join.
    func request(_ change: GroupChange, _ roster: Roster, _ group: ConversationID) async throws -> Answer {
        let lane = Lane(of: group)
        let addressees =
            change.joining.isEmpty
            ? roster.addressees
            : Roster.Addressees(change.recipients(among: roster.members), of: group, commit.placement)
        let effect = !change.joining.isEmpty ? "add" : !change.leaving.isEmpty ? "remove" : ""
        let fixed = [
            epochs.epoch, group.description, String(lane.number), String(change.version), String(roster.version),
            effect, (change.joining + change.leaving).map(\.description).joined(separator: ","),
        ]
        let keyCount = 4 + addressees.keys.count
        var command = RedisCommand.Builder(
            argumentCount: 3 + keyCount + fixed.count + 2 + addressees.names.count,
            reservingCapacity: 1024 + addressees.keys.size + addressees.names.size
        )
        command.append("FCALL")
        command.append(RedisFunctions.library.function("change"))
        command.append(keyCount)
        for key in [Keys.epoch, Keys.conversation(group), Keys.lane(lane), Keys.pending(lane)] { command.append(key) }
        command.append(addressees.keys)
        for argument in fixed { command.append(argument) }
        command.append(change.eventMembers(of: group))
        command.append(commit.queueLimits)
        command.append(addressees.names)
        return try Answer(await redis.send(command.command))
    }

    private func roster(of group: ConversationID) async throws -> Roster {
        let keys = [Keys.epoch, Keys.conversation(group), Keys.members(group)]
        let call = RedisFunctions.call("roster", keys: keys, [epochs.epoch], readOnly: true)
        switch try Answer(await redis.send(call)) {
        case .roster(let version, let members): return make(group, version, members)
        case .seed: return try await seed(group)
        case .changed, .epoch: throw Failure.epochChanged
        }
    }

    private func make(_ group: ConversationID, _ version: Int64, _ members: [UserID]) -> Roster {
        Roster(group, version: version, members: members, placement: commit.placement)
    }

    // MARK: Seed

    /// Makes the group known to this epoch, as it was before the changes that are not archived.
    private func seed(_ group: ConversationID) async throws -> Roster {
        var known: Int64 = 0
        for _ in 0..<Self.attempts {
            guard let snapshot = try await store.snapshot(of: group) else { throw Failure.noSuchGroup }
            let version = max(known, snapshot.archivedVersion)
            let sequence = try await SequenceFloor(of: group, history, epochs)
            let members = snapshot.members(at: version).flatMap { member in
                [member.user.description, member.joined.map { "\($0.seq) \($0.mid)" } ?? "0 0"]
            }
            let call = RedisFunctions.call(
                "seed_group",
                keys: [Keys.conversation(group), Keys.epoch, Keys.members(group)],
                [sequence.epoch, String(version), String(sequence.last), String(sequence.jump)] + members
            )
            let words = (try await redis.send(call).string ?? "").split(
                separator: " ",
                omittingEmptySubsequences: false
            )
            switch (words.first, words.count) {
            case ("seeded", 4):
                guard let seq = Int64(words[1]), let version = Int64(words[2]) else { throw Failure.epochChanged }
                try await sequence.record(seq, of: group, in: store.postgres)
                return make(group, version, words[3].split(separator: ",").compactMap { UserID($0) })
            case ("older", 2): known = Int64(words[1]) ?? 0
            default: throw Failure.epochChanged
            }
        }
        throw Failure.contended
    }

    /// Where a member joined, of whose joining history has no entry yet; nil where Redis does not know it either.
    func joining(of user: UserID, in group: ConversationID) async throws -> GroupSnapshot.Joined? {
        let value = try await redis.send("HGET", Keys.members(group), user.description).string
        let words = value?.split(separator: " ") ?? []
        guard words.count == 2, let seq = Int64(words[0]), let mid = MessageID(words[1]), mid.rawValue > 0 else {
            return nil
        }
        return GroupSnapshot.Joined(seq: seq, mid: mid)
    }

    /// What `change` and `roster` answer.
    enum Answer: Hashable {
        case changed(MessageID, PendingDelivery)
        case roster(version: Int64, members: [UserID])
        case seed
        case epoch

        init(_ reply: RESPValue) throws {
            let words = (reply.string ?? "").split(separator: " ", omittingEmptySubsequences: false)
            switch words.first {
            case "changed" where words.count >= 4:
                guard let mid = MessageID(words[1]) else { throw Self.unknown }
                self = .changed(mid, PendingDelivery(words.count == 5 ? words[4] : ""))
            case "roster" where words.count == 3, "stale" where words.count == 3:
                guard let version = Int64(words[1]) else { throw Self.unknown }
                self = .roster(version: version, members: words[2].split(separator: ",").compactMap { UserID($0) })
            case "seed": self = .seed
            case "epoch": self = .epoch
            default: throw Self.unknown
            }
        }

        private static let unknown = RedisError(.protocolViolation, outcome: .unknown, "a group's function")
    }
}

/// Finishes the changes whose gateway died before Redis had them.
struct GroupSweeper: Sweeper {
    let outbox: GroupOutbox
    let logger: Logger
    /// Milliseconds that a gateway has for it.
    var age: Int64 = 3000

    func sweep() async throws {
        for group in try await outbox.store.groupsWithChanges(olderThan: age) {
            do {
                try await outbox.settle(group)
            } catch let error as RedisError {
                throw error
            } catch {
                // One group that cannot be settled must not keep the others waiting.
                logger.warning("group changes left", metadata: ["group": "\(group)", "error": "\(error)"])
            }
        }
    }
}
