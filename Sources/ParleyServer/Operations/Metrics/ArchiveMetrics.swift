import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient
import Synchronization

/// What a worker has archived.
final class ArchiveCount: Sendable {
    private let count = Atomic<Int>(0)

    var entries: Int { count.load(ordering: .relaxed) }
    func archived(_ entries: Int) { count.add(entries, ordering: .relaxed) }
}

/// How far the archive and what else happens after a commit are behind, of the whole deployment: a lane that no worker
/// holds counts too. Asked of the stores at each scrape, some hundred short questions.
struct ArchiveMetrics: MetricsSource {
    let redis: RedisClient
    let postgres: PostgresPool
    let count: ArchiveCount

    /// A scrape waits ten seconds by default.
    private static let patience = Duration.seconds(3)

    func collect() async -> MetricSamples {
        var samples = MetricSamples()
        samples.add(.entriesArchived, value: count.entries)
        if let lanes = try? await lanes() { samples.add(lanes) }
        if let outboxes = try? await outboxes() { samples.add(outboxes) }
        return samples
    }

    /// What one lane holds.
    private struct Standing: Sendable {
        var entries = 0
        /// Milliseconds since 1970.
        var oldestUnarchived: Int64?
        var pending = 0
        var oldestPending: Int64?
    }

    private func lanes() async throws -> MetricSamples {
        let rows = try await postgres.query("SELECT lane, position FROM lanes", timeout: Self.patience)
        let positions = Dictionary(uniqueKeysWithValues: try rows.decode((Int32, Int64).self).map { ($0, $1) })
        let standings = try await withThrowingTaskGroup(of: Standing.self) { group in
            for lane in Lane.all {
                group.addTask { try await standing(of: lane, archived: positions[Int32(lane.number)] ?? 0) }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        let now = WallClock.milliseconds()
        func age(_ oldest: Int64?) -> Double { oldest.map { Double(max(0, now - $0)) / 1000 } ?? 0 }
        var samples = MetricSamples()
        samples.add(.archiveLag, value: age(standings.compactMap(\.oldestUnarchived).min()))
        samples.add(.commitLogEntries, value: standings.reduce(0) { $0 + $1.entries })
        samples.add(.fanOutPendingAge, value: age(standings.compactMap(\.oldestPending).min()))
        samples.add(.fanOutsPending, value: standings.reduce(0) { $0 + $1.pending })
        return samples
    }

    private func standing(of lane: Lane, archived position: Int64) async throws -> Standing {
        var standing = Standing()
        standing.entries = Int(try await redis.send("XLEN", Keys.lane(lane), repeatable: true).integer ?? 0)
        if standing.entries > 0 {
            let start = MessageID(rawValue: UInt64(position)).map { position > 0 ? "(\($0.streamID)" : "-" } ?? "-"
            let range = ["XRANGE", Keys.lane(lane), start, "+", "COUNT", "1"]
            let oldest = CommitLog.entries(try await redis.send(RedisCommand(range), repeatable: true)).first
            standing.oldestUnarchived = oldest.flatMap { $0.streamID.split(separator: "-").first }.flatMap { Int64($0) }
        }
        standing.pending = Int(try await redis.send("ZCARD", Keys.pending(lane), repeatable: true).integer ?? 0)
        if standing.pending > 0 {
            // `<conversation> <user> <ms>-<sequence>`
            let marks = try await redis.send("ZRANGE", Keys.pending(lane), "0", "0", repeatable: true)
            let place = marks.array?.first?.string?.split(separator: " ").last
            standing.oldestPending = place?.split(separator: "-").first.flatMap { Int64($0) }
        }
        return standing
    }

    private func outboxes() async throws -> MetricSamples {
        let rows = try await postgres.query(
            """
            SELECT (SELECT count(*) FROM conversation_changes), (SELECT count(*) FROM right_changes),
                (SELECT count(*) FROM relation_events), (SELECT count(*) FROM account_deletions),
                (SELECT count(*) FROM dead_letters)
            """,
            timeout: Self.patience
        )
        var samples = MetricSamples()
        for (groups, rights, relations, deletions, dead) in try rows.decode((Int64, Int64, Int64, Int64, Int64).self) {
            samples.add(.outboxRows, "conversation_changes", value: Int(groups))
            samples.add(.outboxRows, "right_changes", value: Int(rights))
            samples.add(.outboxRows, "relation_events", value: Int(relations))
            samples.add(.outboxRows, "account_deletions", value: Int(deletions))
            samples.add(.deadLetters, value: Int(dead))
        }
        return samples
    }
}
