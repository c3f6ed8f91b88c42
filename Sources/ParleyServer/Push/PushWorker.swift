import Logging
import ParleyWire
import RedisClient
import ServiceLifecycle
import Synchronization

/// Sends what the push stream has, as one of its consumers: what a worker held when it died is claimed by the others.
///
/// An entry rests a moment first: whoever is about to read the message needs no push. Then how it stands is looked up for a
/// batch at once, each device's push is sent, and what became of it is written back together with the entry's end.
struct PushWorker: Service {
    let name: String
    let store: PushStore
    let redis: RedisClient
    let epochs: EpochKeeper
    let sender: PushSender
    let configuration: PushConfiguration
    let logger: Logger
    private let held = HeldEntries()
    private let settled = SettledEntries()

    /// Milliseconds that an entry rests.
    private static let rest: Int64 = 1500
    /// Entries of a batch, and those that a worker holds at most.
    private static let batch = 200
    private static let limit = 20_000
    /// Of those that rest no more, so that what became of the first is noted before the last is begun.
    private static let underWay = 1000
    /// Entries that Redis is asked about at once, and told of.
    private static let chunk = 50
    /// What nobody has spoken for in so long is claimed, in milliseconds; holders speak for theirs much more often.
    private static let abandoned = 30_000

    init(
        name: String,
        store: PushStore,
        redis: RedisClient,
        epochs: EpochKeeper,
        sender: PushSender,
        configuration: PushConfiguration,
        logger: Logger
    ) {
        self.name = name
        self.store = store
        self.redis = redis
        self.epochs = epochs
        self.sender = sender
        self.configuration = configuration
        self.logger = logger
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                group.addTask { await again(.seconds(60), "enrolment") { try await PushEnrolment(self).check() } }
                group.addTask { await again(.milliseconds(250), "retries") { try await bringBack() } }
                group.addTask { await again(.milliseconds(5), "settling") { await settle() } }
                group.addTask { await again(.seconds(8), "holding") { try await speakForHeld() } }
                var claims = ContinuousClock.now
                var isBehind = false
                while !Task.isCancelled {
                    do {
                        var entries: [PushEntry] = []
                        if claims <= .now {
                            entries = try await claim(upTo: isBehind ? Self.underWay : Self.limit)
                            // More may be abandoned behind a whole batch.
                            if entries.count < Self.batch { claims = .now + .seconds(5) }
                        }
                        if entries.isEmpty { entries = try await read(upTo: isBehind ? Self.underWay : Self.limit) }
                        guard !entries.isEmpty else {
                            try await Task.sleep(for: .milliseconds(held.count > 0 ? 10 : 100))
                            continue
                        }
                        let batch = entries
                        let newest = batch.map(\.enteredAt).max() ?? 0
                        isBehind = newest + Self.rest <= WallClock.milliseconds()
                        held.add(batch.map(\.id))
                        group.addTask {
                            await work(on: batch)
                            held.remove(batch.map(\.id))
                        }
                    } catch {
                        guard !Task.isCancelled else { break }
                        logger.warning("pushes not read", metadata: ["error": "\(error)"])
                        try? await Task.sleep(for: .seconds(1))
                    }
                }
            }
        }
        // What was under way when the process was told to end.
        await Task { await settle() }.value
    }

    private func again(_ pause: Duration, _ what: String, _ body: () async throws -> Void) async {
        while !Task.isCancelled {
            do { try await body() } catch {
                if !Task.isCancelled {
                    logger.warning("push work failed", metadata: ["what": "\(what)", "error": "\(error)"])
                }
            }
            try? await Task.sleep(for: pause)
        }
    }

    // MARK: The stream

    private func read(upTo limit: Int) async throws -> [PushEntry] {
        guard held.count + Self.batch <= limit else { return [] }
        let command = RedisCommand(
            "XREADGROUP",
            "GROUP",
            PushCalls.group,
            name,
            "COUNT",
            String(Self.batch),
            "STREAMS",
            Keys.push,
            ">"
        )
        guard let reply = try await askGroup(command) else { return [] }
        return try await parse(reply.array?.first?.array?.last?.array ?? [])
    }

    /// Sends what concerns the consumer group, and makes the group where there is none.
    /// - Returns: nil where there was none.
    private func askGroup(_ command: RedisCommand) async throws -> RESPValue? {
        do {
            return try await redis.send(command)
        } catch {
            guard "\(error)".contains("NOGROUP") else { throw error }
        }
        do {
            _ = try await redis.send("XGROUP", "CREATE", Keys.push, PushCalls.group, "0", "MKSTREAM")
        } catch {
            guard "\(error)".contains("BUSYGROUP") else { throw error }
        }
        return nil
    }

    private func claim(upTo limit: Int) async throws -> [PushEntry] {
        guard held.count + Self.batch <= limit else { return [] }
        let command = RedisCommand(
            "XAUTOCLAIM",
            Keys.push,
            PushCalls.group,
            name,
            String(Self.abandoned),
            "0-0",
            "COUNT",
            String(Self.batch)
        )
        let found = try await parse(askGroup(command)?.array?.dropFirst().first?.array ?? [])
        if !found.isEmpty { logger.notice("took over pushes", metadata: ["count": "\(found.count)"]) }
        return found
    }

    /// What cannot be read ends here: it would come back for ever.
    private func parse(_ replies: [RESPValue]) async throws -> [PushEntry] {
        var entries: [PushEntry] = []
        for reply in replies {
            if let entry = PushEntry(reply) {
                entries.append(entry)
            } else if let id = reply.array?.first?.string {
                logger.error("an entry of the push stream cannot be read", metadata: ["entry": "\(id)"])
                _ = try await redis.send(PushCalls.settle(["done", PushCalls.group, id]))
            }
        }
        return entries
    }

    private func bringBack() async throws {
        while try await redis.send(PushCalls.due(limit: Self.batch)).integer == Int64(Self.batch) {}
    }

    private func speakForHeld() async throws {
        let ids = held.all
        for start in stride(from: 0, to: ids.count, by: 500) {
            let part = ids[start..<min(start + 500, ids.count)]
            _ = try await redis.send(
                RedisCommand(["XCLAIM", Keys.push, PushCalls.group, name, "0"] + part + ["JUSTID"]),
                repeatable: true
            )
        }
    }

    // MARK: A batch

    private func work(on entries: [PushEntry]) async {
        do {
            let due = (entries.map(\.enteredAt).max() ?? 0) + Self.rest - WallClock.milliseconds()
            // What comes from a clock ahead of this one rests no longer than the rest.
            if due > 0 { try await Task.sleep(for: .milliseconds(min(due, Self.rest))) }
            let batch = try await PushBatch(entries, store: store, redis: redis, chunk: Self.chunk)
            if !batch.unregistered.isEmpty { try await PushEnrolment(self).forget(batch.unregistered) }
            try await send(batch)
        } catch {
            guard !Task.isCancelled else { return }
            // They stay pending, and are claimed a little later.
            logger.warning("pushes not sent", metadata: ["count": "\(entries.count)", "error": "\(error)"])
        }
    }

    private func send(_ batch: PushBatch) async throws {
        let hidesContent = configuration.hidesContent
        await withTaskGroup(of: [String].self) { group in
            for item in batch.items {
                group.addTask {
                    var steps: [String] = []
                    for (registration, wasSent) in zip(item.registrations, item.standing.wasSent) {
                        steps += await push(item, registration, wasSent, hidesContent: hidesContent)
                    }
                    return steps + ["done", PushCalls.group, item.entry.id]
                }
            }
            for id in batch.over {
                group.addTask { ["done", PushCalls.group, id] }
            }
            for await steps in group { settled.add(steps) }
        }
        for (drop, count) in batch.drops { for _ in 0..<count { sender.counts.count(drop) } }
    }

    /// Sends to one device, and says what became of it as a step of `push_settle`.
    private func push(_ item: PushBatch.Item, _ registration: PushRegistration, _ wasSent: Bool, hidesContent: Bool)
        async
        -> [String]
    {
        let entry = item.entry
        guard !wasSent else {
            sender.counts.count(.sent)
            return []
        }
        let notice = item.notice(hidesContent: hidesContent || registration.hidesContent)
        let push = Push(registration: registration, notice: notice, expiry: entry.since + configuration.lifetime)
        switch await sender.send(push, attempts: entry.attempts) {
        case .sent:
            var seq: Int64 = 0
            if case .message(let event, _, _) = entry.content { seq = event.seq ?? 0 }
            return [
                "sent", Keys.pushed(milliseconds: entry.milliseconds), entry.name(for: registration),
                Keys.unread(entry.user), Keys.conversation(entry.conversation), String(seq),
            ]
        case .gone:
            // Left to the next push if this fails.
            try? await store.forget(registration)
            return []
        case .retry(let due, let attempts):
            let fields = entry.fields(for: registration, attempts: attempts)
            return ["retry", String(due), String(fields.count)] + fields
        case .dead(let why):
            // Nobody misses that something was not cleared.
            guard case .message = entry.content else { return [] }
            sender.counts.countDead()
            let fields = entry.fields(for: registration, attempts: entry.attempts, reason: why)
            return ["dead", String(fields.count)] + fields
        }
    }

    /// Writes back what became of pushes since the last time; of many together, since each call waits for the disk.
    private func settle() async {
        while true {
            let steps = settled.take(Self.chunk)
            guard !steps.isEmpty else { return }
            do {
                _ = try await redis.send(PushCalls.settle(steps))
            } catch {
                // They come again; that they were sent is not known then, and their names on the devices are the same.
                logger.warning("what became of pushes was not noted", metadata: ["error": "\(error)"])
            }
        }
    }
}

/// Steps of `push_settle` that are to be taken, an entry's together.
private final class SettledEntries: Sendable {
    private let steps = Mutex<[[String]]>([])

    func add(_ more: [String]) { steps.withLock { $0.append(more) } }

    /// Of so many entries at most.
    func take(_ count: Int) -> [String] {
        steps.withLock {
            let taken = Array($0.prefix(count).joined())
            $0.removeFirst(min(count, $0.count))
            return taken
        }
    }
}

/// The entries that a worker speaks for.
private final class HeldEntries: Sendable {
    private let ids = Mutex<Set<String>>([])

    var count: Int { ids.withLock(\.count) }
    var all: [String] { ids.withLock { Array($0) } }
    func add(_ more: [String]) { ids.withLock { $0.formUnion(more) } }
    func remove(_ done: [String]) { ids.withLock { $0.subtract(done) } }
}
