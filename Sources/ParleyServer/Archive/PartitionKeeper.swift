import Logging
import ParleyWire
import PostgresClient
import ServiceLifecycle

/// Creates the partitions of `messages` ahead of time, so that the default partition stays empty.
struct PartitionKeeper: Service {
    enum Period: String, Sendable, CaseIterable {
        case day, week, month
    }

    let postgres: PostgresPool
    var period = Period.month
    /// Periods that exist beyond the present one.
    var ahead = 2
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await ensure()
                    try await Task.sleep(for: .seconds(3600))
                } catch is CancellationError {
                    break
                } catch {
                    logger.error("partitions could not be created", metadata: ["error": "\(error)"])
                    try? await Task.sleep(for: .seconds(10))
                }
            }
        }
    }

    /// Makes sure that the present period and those ahead have partitions.
    func ensure() async throws {
        let periods = try await postgres.query(
            """
            SELECT to_char(start, 'YYYYMMDD'), (extract(epoch FROM start) * 1000)::bigint,
                (extract(epoch FROM start + step) * 1000)::bigint
            FROM (
                SELECT date_trunc(\(period.rawValue), now() AT TIME ZONE 'UTC') + n * ('1 ' || \(period.rawValue))::interval AS start,
                    ('1 ' || \(period.rawValue))::interval AS step
                FROM generate_series(0, \(Int64(ahead))) AS n
            ) AS periods
            """
        )
        for (name, start, end) in try periods.decode((String, Int64, Int64).self) {
            try await create("messages_\(name)", from: Self.floor(start), to: Self.floor(end))
        }
    }

    /// The lowest message id of a time in milliseconds since 1970.
    private static func floor(_ milliseconds: Int64) -> Int64 {
        Int64(MessageID(unixMilliseconds: milliseconds, lane: 0, sequence: 0)?.rawValue ?? 0)
    }

    private func create(_ name: String, from lower: Int64, to upper: Int64) async throws {
        try await postgres.transaction { connection in
            // Two workers at once, or a changed period that overlaps what exists: one creates, the others see it.
            _ = try await connection.query("SELECT pg_advisory_xact_lock(hashtext('parley partitions'))")
            let covered = try await connection.query("SELECT to_regclass(\(name)) IS NOT NULL")
            let exists: [Bool] = try covered.decode(Bool.self)
            guard exists.first == false else { return }
            // Rows in the default partition would forbid a partition of their time: move them.
            try await connection.execute(
                script: """
                    CREATE TABLE \(name) (LIKE messages INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
                    WITH moved AS (
                        DELETE FROM messages_default WHERE message_id >= \(lower) AND message_id < \(upper) RETURNING *
                    )
                    INSERT INTO \(name) SELECT * FROM moved;
                    ALTER TABLE messages ATTACH PARTITION \(name) FOR VALUES FROM (\(lower)) TO (\(upper));
                    """
            )
            logger.notice("partition created", metadata: ["partition": "\(name)"])
        }
    }
}
