import Logging
import ParleyCore
import PostgresClient
import RedisClient
import ServiceLifecycle

/// Counts the searches of the stream's shards, each of which one worker reads at a time.
///
/// A round reads a shard, adds the users to the gate, and writes one transaction of counts that also moves the shard's
/// position; trends and the trimming of the stream follow it. A crash anywhere repeats a round at most, and what is
/// repeated counts once. Between the transaction and the trend a crash costs the trend some seconds of searches.
struct SearchReader: Service {
    let redis: RedisClient
    let counts: QueryCounts
    let gate: PrivacyGate
    let trends: Trends
    let leases: SearchLeases
    /// Pause after a round that found little.
    let interval: Duration
    let progress: SearchProgress
    let logger: Logger

    /// Entries that a round takes of a shard at most.
    private static let limit = 2000

    func run() async throws {
        await cancelWhenGracefulShutdown { await loop() }
    }

    private func loop() async {
        var held: [SearchShard: SearchLeases.Lease] = [:]
        while !Task.isCancelled {
            do {
                held = try await leases.renew(held)
                var isBusy = false
                for lease in held.values {
                    let next = try await round(lease)
                    held[lease.shard] = next?.lease
                    isBusy = isBusy || next?.isBusy ?? false
                }
                progress.succeeded(held.keys)
                if !isBusy { try await Task.sleep(for: min(interval, .seconds(3))) }
            } catch is CancellationError {
                break
            } catch {
                // What is known of positions may be wrong now: they are read anew with the leases.
                held = [:]
                logger.warning("searches are not counted", metadata: ["error": "\(error)"])
                progress.failed(error)
                try? await Task.sleep(for: .milliseconds(.random(in: 500...1500)))
            }
        }
        let mine = held
        await Task { try? await leases.release(mine) }.value
    }

    /// - Returns: the lease as it stands then, nil where it is another's; and whether there was more than was taken.
    func round(_ lease: SearchLeases.Lease) async throws -> (lease: SearchLeases.Lease, isBusy: Bool)? {
        let key = lease.shard.key
        let reply = try await redis.send(
            RedisCommand("XRANGE", key, "(\(lease.position)", "+", "COUNT", String(Self.limit)),
            repeatable: true
        )
        var batch = SearchBatch()
        var read = 0
        for (id, entry) in SearchEntry.all(in: reply) {
            batch.add(entry, id: id)
            read += 1
        }
        guard let last = batch.last else {
            try await raise(lease)
            return (lease, false)
        }
        let passage = try await gate.pass(batch)
        do {
            try await counts.add(batch, opened: passage.opened, of: lease)
        } catch is QueryCounts.Fenced {
            logger.notice("another worker reads these searches", metadata: ["shard": "\(lease.shard)"])
            return nil
        }
        progress.counted(batch.entries)
        var lease = lease
        lease.position = last
        try await gate.forget(passage.opened)
        let recent = batch.recent.filter { passage.open.contains($0.key) }
        try await trends.add(recent, of: lease.shard, upTo: last)
        _ = try await redis.send("XTRIM", key, "MINID", last, repeatable: true)
        return (lease, read == Self.limit)
    }

    /// Redis may have lost the stream's end, and its clock may be behind what it was: ids that are given again would never
    /// be read. An entry with the position's own id, which nobody reads either, has it go on above.
    private func raise(_ lease: SearchLeases.Lease) async throws {
        guard lease.position != "0-0" else { return }
        _ = try await redis.send(
            RedisFunctions.call("raise_stream", keys: [lease.shard.key], [lease.position]),
            repeatable: true
        )
    }
}
