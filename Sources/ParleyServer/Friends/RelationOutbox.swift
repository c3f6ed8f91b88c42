import Logging
import NIOCore
import ParleyCore
import ParleyWire
import RedisClient

/// Brings to Redis what has changed between users: who may write to whom, and the events for their queues.
///
/// Anyone may do this at any time, several at once too. Rights are told as they are now, with a version, of which Redis
/// keeps the highest; of a queue's events Redis knows the last row that it got. A row leaves the outbox when Redis has
/// what it stands for.
struct RelationOutbox: Sendable {
    let store: RelationStore
    let redis: RedisClient
    let epochs: EpochKeeper
    let queueCap: Int

    enum Failure: Error, Hashable {
        /// Redis is in another epoch than this process knows.
        case epochChanged
        case notTold(String)
    }

    /// Conversations that one step brings up to date, and events that one call appends.
    private static let page = 200

    /// Brings what changed between two users.
    /// - Throws: `Failure`, or what a store says; a worker does the rest then.
    func settle(_ one: UserID, _ other: UserID) async throws {
        try await settle(.conversation(.direct(one, other)))
        for user in [one, other] { try await tell(user) }
    }

    /// Ends what a user has with anybody, before their account is deleted: afterwards nobody would know whom to tell. In
    /// steps of a hundred; what was done stays done, and calling it again goes on.
    func endAll(of user: UserID) async throws {
        while true {
            let others = try await store.endSome(of: user)
            for other in others { try await settle(user, other) }
            if others.isEmpty { return }
        }
    }

    // MARK: Rights

    func settle(_ subject: RelationStore.Subject) async throws {
        // What comes in from here on may not be in what is read below, and stays.
        let rows = try await store.changes(of: subject)
        guard !rows.isEmpty else { return }
        switch subject {
        case .conversation(let conversation): try await apply([conversation])
        case .user(let user): try await applyAll(of: user)
        }
        try await store.remove(changes: rows)
    }

    /// A user with thousands of conversations is worked through by pages: a page is two short queries and its calls of
    /// Redis under way together, some milliseconds that nobody else waits for. Conversations that are opened meanwhile
    /// read the new rights themselves. Whoever dies on the way leaves the row, and the next one begins anew.
    private func applyAll(of user: UserID) async throws {
        var last: ConversationID?
        while true {
            let page = try await store.directConversations(of: user, after: last, limit: Self.page)
            try await apply(page)
            guard page.count == Self.page else { return }
            last = page.last
        }
    }

    private func apply(_ conversations: [ConversationID]) async throws {
        // One that does not exist reads its rights when it is opened, and they are these or newer ones.
        let open = try await store.rights(in: conversations).filter(\.isOpen)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for rights in open {
                tasks.addTask { [redis] in _ = try await redis.send(rights.command, repeatable: true) }
            }
            try await tasks.waitForAll()
        }
    }

    // MARK: Events

    /// Appends to a user's queue what it lacks.
    func tell(_ recipient: UserID) async throws {
        do {
            try await tellOnce(recipient)
        } catch Failure.epochChanged {
            try await epochs.verify(on: redis)
            try await tellOnce(recipient)
        }
    }

    private func tellOnce(_ recipient: UserID) async throws {
        while true {
            let events = try await store.events(for: recipient, limit: Self.page)
            guard let last = events.last else { return }
            let told = events.flatMap { [String($0.row), String(buffer: $0.json)] }
            let call = RedisFunctions.call(
                "tell",
                keys: [Keys.epoch, Keys.queue(recipient), Keys.user(recipient)],
                [epochs.epoch, recipient.description, String(queueCap)] + told
            )
            switch try await redis.send(call, repeatable: true).string {
            case "told": break
            case let answer? where answer.hasPrefix("epoch"): throw Failure.epochChanged
            case let answer: throw Failure.notTold(answer ?? "")
            }
            try await store.remove(eventsFor: recipient, upTo: last.row)
            guard events.count == Self.page else { return }
        }
    }
}

/// Finishes the changes whose gateway died before Redis had them.
struct RelationSweeper: Sweeper {
    let outbox: RelationOutbox
    let logger: Logger
    /// Milliseconds that a gateway has for it.
    var age: Int64 = 3000

    func sweep() async throws {
        let left = try await outbox.store.left(olderThan: age)
        for subject in left.subjects {
            try await attempt("\(subject.text)") { try await outbox.settle(subject) }
        }
        for recipient in left.recipients {
            try await attempt("\(recipient)") { try await outbox.tell(recipient) }
        }
    }

    /// One that cannot be settled must not keep the others waiting, unless none can.
    private func attempt(_ whom: String, _ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch let error as RedisError {
            throw error
        } catch {
            logger.warning("change between users left", metadata: ["of": "\(whom)", "error": "\(error)"])
        }
    }
}
