import Logging
import ParleyCore
import ParleyWire
import RedisClient
import Synchronization

/// Knows the epoch of this deployment's Redis, and notices when Redis has lost data that was acknowledged.
///
/// On a server that it has not verified (another run id or replication id, or one without an epoch) it first presents
/// what this process acknowledged and what the archive holds. If the commit log lacks any of it, a new epoch begins:
/// lanes never hand out an id again, every cursor becomes stale, every conversation's sequence jumps.
final class EpochKeeper: Sendable {
    typealias Run = @Sendable (RedisCommand) async throws -> RESPValue

    private struct State {
        /// Empty before the first verification.
        var epoch = ""
        var verifiedServer = ""
        /// Message ids of the last acknowledged entry of each lane in this epoch, 0 for none.
        var acknowledged = [UInt64](repeating: 0, count: Lane.count)
        var archived = [UInt64](repeating: 0, count: Lane.count)
        var isLossy = false
        var listeners: [@Sendable (String) -> Void] = []
    }

    private let state = Mutex(State())
    private let verifying = AsyncLock()
    private let archive: ArchivePositions
    private let logger: Logger

    init(archive: ArchivePositions, logger: Logger) {
        self.archive = archive
        self.logger = logger
    }

    /// The epoch in force, empty while none is known.
    var epoch: String { state.withLock { $0.epoch } }

    /// A conversation's first send in this epoch leaves room for sequence numbers that were lost.
    var sequenceJump: Int { state.withLock { $0.isLossy ? 1024 : 0 } }

    /// Calls `listener` with every later epoch.
    func onChange(_ listener: @escaping @Sendable (String) -> Void) {
        state.withLock { $0.listeners.append(listener) }
    }

    /// A commit that a client was, or may be, told of.
    func acknowledged(_ mid: MessageID) {
        state.withLock { $0.acknowledged[mid.lane] = max($0.acknowledged[mid.lane], mid.rawValue) }
    }

    /// To be run on each new connection before it serves.
    func prepare(_ handshake: RedisHandshake) async throws {
        try await RedisFunctions.library.ensure(on: handshake)
        try await verify { try await handshake.send($0) }
    }

    /// Looks at the server anew: it has shown another epoch. A connection that is being prepared waits for the same lock,
    /// so this waits for none.
    func verify(on redis: RedisClient) async throws { try await verify { try await redis.sendIfReady($0) } }

    /// Verifies the server unless that is done already; afterwards `epoch` is that of the server.
    private func verify(_ run: Run) async throws {
        try await verifying.withLock {
            let server = try await Self.identity(run)
            let found = try await run(RedisCommand("HGET", Keys.epoch, "id")).string ?? ""
            let (known, verified) = self.state.withLock { ($0.epoch, $0.verifiedServer) }
            if server == verified, !found.isEmpty {
                if found != known { try await self.adopt(found, server, run) }
                return
            }
            try await self.examine(server, found: found, known: known, run)
        }
    }

    private func examine(_ server: String, found: String, known: String, _ run: Run) async throws {
        let archived: [UInt64]
        do {
            archived = try await refreshArchived()
        } catch {
            // Enough if nothing turns out to be missing; known positions are only lower than the true ones.
            logger.warning("archive positions unavailable", metadata: ["error": "\(error)"])
            archived = state.withLock { $0.archived }
        }
        var lacking = try await lanesLacking(archived, run)
        if !lacking.isEmpty {
            // What is archived may have been trimmed since the positions were read.
            lacking = try await lanesLacking(try await refreshArchived(), run)
        }
        let floors = state.withLock { zip($0.acknowledged, $0.archived).map(max) }
        if !lacking.isEmpty { try await raise(floors, run) }
        if found.isEmpty || !lacking.isEmpty && (known.isEmpty || found == known) {
            let isLossy = !lacking.isEmpty || floors.contains { $0 > 0 }
            if isLossy { try await raise(floors, run) }
            let fresh = String(randomName().prefix(8))
            let answer = try await run(
                RedisFunctions.call("new_epoch", keys: [Keys.epoch], [found, fresh, isLossy ? "1" : "0"])
            )
            guard let epoch = answer.string else {
                throw RedisError(.protocolViolation, outcome: .unknown, "new_epoch")
            }
            logger.notice(
                "new epoch",
                metadata: ["epoch": "\(epoch)", "lanes_lacking": "\(lacking.count)", "lossy": "\(isLossy)"]
            )
            try await adopt(epoch, server, run)
        } else {
            try await adopt(found, server, run)
        }
    }

    private func adopt(_ epoch: String, _ server: String, _ run: Run) async throws {
        let since = try await run(RedisCommand("HGET", Keys.epoch, "since")).integer ?? 0
        let listeners: [@Sendable (String) -> Void] = state.withLock {
            $0.verifiedServer = server
            $0.isLossy = since > 0
            guard $0.epoch != epoch else { return [] }
            let isFirst = $0.epoch.isEmpty
            $0.epoch = epoch
            $0.acknowledged = [UInt64](repeating: 0, count: Lane.count)
            return isFirst ? [] : $0.listeners
        }
        for listener in listeners { listener(epoch) }
    }

    /// Reads how far each lane is archived. Done regularly, so that Redis can be verified while PostgreSQL is away.
    @discardableResult
    func refreshArchived() async throws -> [UInt64] {
        let positions = try await archive.all()
        return state.withLock {
            $0.archived = positions
            return positions
        }
    }

    private func lanesLacking(_ archived: [UInt64], _ run: Run) async throws -> [Lane] {
        let acknowledged = state.withLock { $0.acknowledged }
        var lacking: [Lane] = []
        // One call a lane: in a cluster each lane may stand elsewhere.
        for lane in Lane.all where acknowledged[lane.number] > 0 || archived[lane.number] > 0 {
            let ids = [acknowledged[lane.number], archived[lane.number]].map(Self.streamID)
            let answer = try await run(RedisFunctions.call("verify", keys: [Keys.lane(lane)], ids, readOnly: true))
            if !(answer.array ?? []).isEmpty { lacking.append(lane) }
        }
        return lacking
    }

    private func raise(_ floors: [UInt64], _ run: Run) async throws {
        for lane in Lane.all where floors[lane.number] > 0 {
            _ = try await run(
                RedisFunctions.call("raise", keys: [Keys.lane(lane)], [Self.streamID(floors[lane.number])])
            )
        }
    }

    private static func streamID(_ position: UInt64) -> String {
        position == 0 ? "0-0" : MessageID(rawValue: position)?.streamID ?? "0-0"
    }

    /// Changes whenever data may have been lost: at a restart, a promotion, another server behind the same address.
    private static func identity(_ run: Run) async throws -> String {
        let info = [
            try await run(RedisCommand("INFO", "server")).string ?? "",
            try await run(RedisCommand("INFO", "replication")).string ?? "",
        ].joined(separator: "\n")
        let wanted = info.split(whereSeparator: \.isNewline).filter {
            $0.hasPrefix("run_id:") || $0.hasPrefix("master_replid:")
        }
        guard !wanted.isEmpty else { throw RedisError(.protocolViolation, outcome: .failed, "INFO without run_id") }
        return wanted.joined(separator: " ")
    }
}

/// One at a time, in order of arrival, across suspensions.
final class AsyncLock: Sendable {
    private struct State {
        var isHeld = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    func withLock<R: Sendable>(_ body: () async throws -> R) async throws -> R {
        await withCheckedContinuation { continuation in
            let isMine = state.withLock {
                guard $0.isHeld else {
                    $0.isHeld = true
                    return true
                }
                $0.waiters.append(continuation)
                return false
            }
            if isMine { continuation.resume() }
        }
        defer {
            let next: CheckedContinuation<Void, Never>? = state.withLock {
                guard $0.waiters.isEmpty else { return $0.waiters.removeFirst() }
                $0.isHeld = false
                return nil
            }
            next?.resume()
        }
        return try await body()
    }
}
