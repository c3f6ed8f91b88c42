import Logging
import NIOCore
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient
import ServiceLifecycle

/// Moves committed messages from the lanes to PostgreSQL, and finishes fan-outs that stayed pending.
///
/// Workers share the lanes by lease. A round reads the lanes, writes one transaction that also moves the lanes'
/// positions, and only then may the lanes be trimmed: a crash anywhere repeats a round at most.
struct Archiver: Service {
    let redis: RedisClient
    let postgres: PostgresPool
    let fanOut: FanOut
    let worker: String
    /// For people to see.
    var status = WorkerStatus()
    /// Pause after a round that found little.
    var interval = Duration.milliseconds(100)
    /// Fan-outs that stayed pending for so many milliseconds are finished here.
    var patience: Int64 = 3_000
    let logger: Logger
    var count = ArchiveCount()

    /// Entries of a lane that a round takes at most, and lanes of one read: 100 MB of the largest messages.
    private static let laneLimit = 100
    private static let lanesAtOnce = 16
    /// Bytes of entries after which a transaction is written.
    private static let batchBytes = 4 << 20

    func run() async throws {
        await cancelWhenGracefulShutdown { await loop() }
    }

    private func loop() async {
        let leases = LaneLeases(postgres: postgres, worker: worker)
        var held: [Lane: LaneLeases.Lease] = [:]
        var untrimmed: [Lane: Int64] = [:]
        var renewal = ContinuousClock.now
        var housekeeping = ContinuousClock.now
        while !Task.isCancelled {
            do {
                if renewal <= .now {
                    held = try await leases.renew(held)
                    renewal = .now + .seconds(3)
                }
                let isBusy = try await round(&held, &untrimmed)
                status.archived(held.keys)
                if housekeeping <= .now {
                    try await trim(&untrimmed)
                    try await sweep(held.keys)
                    housekeeping = .now + .seconds(2)
                }
                if !isBusy { try await Task.sleep(for: interval) }
            } catch is CancellationError {
                break
            } catch {
                // Positions in memory may be behind or ahead now: start from what the database says.
                logger.warning("archiving paused", metadata: ["error": "\(error)"])
                status.failed(error)
                held = [:]
                renewal = .now
                try? await Task.sleep(for: .milliseconds(.random(in: 500...1500)))
                held = (try? await recover(leases)) ?? [:]
            }
        }
        let mine = Array(held.values)
        await Task { try? await leases.release(mine) }.value
    }

    /// Lanes that are still this worker's after a failure, with their positions as the database has them.
    private func recover(_ leases: LaneLeases) async throws -> [Lane: LaneLeases.Lease] {
        let rows = try await postgres.query(
            "SELECT lane::bigint, token, position FROM lanes WHERE owner = \(worker) AND lease_until > now_ms()"
        )
        var held: [Lane: LaneLeases.Lease] = [:]
        for (number, token, position) in try rows.decode((Int64, Int64, Int64).self) {
            let lane = Lane(number: Int(number))
            held[lane] = LaneLeases.Lease(lane: lane, token: token, position: position)
        }
        return held
    }

    /// Lanes are read a few at a time and written together, unless their messages are large.
    /// - Returns: whether a lane had more than was taken.
    private func round(_ held: inout [Lane: LaneLeases.Lease], _ untrimmed: inout [Lane: Int64]) async throws -> Bool {
        let leases = Array(held.values)
        var batch = ArchiveBatch()
        var unpassable: [(Lane, [String])] = []
        var isBusy = false
        for start in stride(from: 0, to: leases.count, by: Self.lanesAtOnce) {
            let some = leases[start..<min(start + Self.lanesAtOnce, leases.count)]
            for (lease, entries) in try await read(some) {
                isBusy = isBusy || entries.count == Self.laneLimit
                unpassable.append((lease.lane, batch.add(entries, of: lease)))
            }
            guard batch.bytes > Self.batchBytes || start + Self.lanesAtOnce >= leases.count, !batch.isEmpty else {
                continue
            }
            let refused = try await batch.write(to: postgres)
            count.archived(batch.messages.count)
            if refused > 0 { logger.error("entries moved to dead_letters", metadata: ["count": "\(refused)"]) }
            for step in batch.steps.values {
                held[step.lane]?.position = step.to
                untrimmed[step.lane] = step.to
            }
            batch = ArchiveBatch()
        }
        for (lane, ids) in unpassable where !ids.isEmpty {
            _ = try await redis.send(RedisCommand(["XDEL", Keys.lane(lane)] + ids))
        }
        return isBusy
    }

    private func read(
        _ leases: ArraySlice<LaneLeases.Lease>
    ) async throws -> [(LaneLeases.Lease, [CommitLog.RawEntry])] {
        let positions = leases.map { lease in
            lease.position == 0 ? "0-0" : MessageID(rawValue: UInt64(lease.position))?.streamID ?? "0-0"
        }
        let reply = try await redis.send(
            RedisCommand(
                ["XREAD", "COUNT", String(Self.laneLimit), "STREAMS"] + leases.map { Keys.lane($0.lane) } + positions
            )
        )
        let byKey = Dictionary(uniqueKeysWithValues: leases.map { (Keys.lane($0.lane), $0) })
        return (reply.array ?? []).compactMap { stream in
            guard let parts = stream.array, parts.count == 2, let key = parts[0].string, let lease = byKey[key] else {
                return nil
            }
            return (lease, CommitLog.entries(parts[1]))
        }
    }

    private func trim(_ untrimmed: inout [Lane: Int64]) async throws {
        for (lane, position) in untrimmed {
            guard let mid = MessageID(rawValue: UInt64(position)) else { continue }
            _ = try await redis.send(
                RedisFunctions.call(
                    "trim",
                    keys: [Keys.lane(lane), Keys.pending(lane), Keys.archived(lane)],
                    [mid.streamID]
                )
            )
        }
        untrimmed = [:]
    }

    private func sweep(_ lanes: some Collection<Lane>) async throws {
        for lane in lanes {
            _ = try await fanOut.sweep(lane, olderThan: patience, now: WallClock.milliseconds())
        }
    }
}
