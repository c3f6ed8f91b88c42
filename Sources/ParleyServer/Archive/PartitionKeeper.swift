import Logging
import ParleyWire
import PostgresClient
import ServiceLifecycle

/// Creates the partitions of `messages` ahead of time, so that the default partition stays empty, and drops those that
/// retention has done with.
///
/// Several workers do this side by side; a lock in the database has them do it in turn.
struct PartitionKeeper: Service {
    enum Period: String, Sendable, CaseIterable {
        case day, week, month
    }

    let postgres: PostgresPool
    var period = Period.month
    /// Periods that exist beyond the present one.
    var ahead = 2
    /// How many days of history are kept, at least; nil for all of it. A partition goes when all of it is older.
    var retentionDays: Int?
    let logger: Logger

    /// The longest that moving rows, or reading what is about to be dropped, may take.
    private static let patience = Duration.seconds(3600)

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await ensure()
                    try await drop()
                    try await Task.sleep(for: .seconds(3600))
                } catch is CancellationError {
                    break
                } catch {
                    logger.error("partitions could not be kept", metadata: ["error": "\(error)"])
                    try? await Task.sleep(for: .seconds(10))
                }
            }
        }
    }

    // MARK: Creating

    /// Makes sure that the present period, those ahead, and those of rows that stand in the default partition have
    /// partitions. Where a part of a period has one, of another length perhaps, the rest gets one.
    func ensure() async throws {
        guard try await !missing(postgres.query(wanted), postgres.query(Partition.listing)).isEmpty else { return }
        try await locked { connection in
            let missing = try await missing(connection.query(wanted), connection.query(Partition.listing))
            for range in missing { try await create(range, on: connection) }
        }
    }

    /// First and last moment of each period, in milliseconds since 1970.
    private var wanted: PostgresQuery {
        """
        SELECT (extract(epoch FROM start) * 1000)::bigint, (extract(epoch FROM start + step) * 1000)::bigint
        FROM (
            SELECT date_trunc(\(period.rawValue), now() AT TIME ZONE 'UTC')
                + n * ('1 ' || \(period.rawValue))::interval AS start
            FROM generate_series(0, \(Int64(ahead))) AS n
            UNION
            SELECT date_trunc(\(period.rawValue),
                to_timestamp(((message_id >> 22) + \(MessageID.epochUnixMilliseconds)) / 1000.0) AT TIME ZONE 'UTC')
            FROM messages_default
        ) AS starts
        CROSS JOIN (SELECT ('1 ' || \(period.rawValue))::interval AS step) AS steps
        """
    }

    private func missing(_ wanted: PostgresRows, _ existing: PostgresRows) throws -> [Range<Int64>] {
        let periods = try wanted.decode((Int64, Int64).self).map { start, end in
            MessageID.lowest(at: start)..<MessageID.lowest(at: end)
        }
        let covered = RangeSet(try Partition.all(existing).map(\.range))
        return periods.flatMap { RangeSet($0).subtracting(covered).ranges }
    }

    private func create(_ range: Range<Int64>, on connection: PostgresConnection) async throws {
        let start = MessageID(rawValue: UInt64(range.lowerBound))?.unixMilliseconds ?? 0
        let rows = try await connection.query(
            "SELECT 'messages_' || to_char(to_timestamp(\(start) / 1000.0) AT TIME ZONE 'UTC', 'YYYYMMDD')"
        )
        guard let name = try rows.decode(String.self).first else { return }
        // Rows in the default partition would forbid a partition of their time: move them.
        try await connection.execute(
            script: """
                CREATE TABLE \(name) (LIKE messages INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
                WITH moved AS (
                    DELETE FROM messages_default
                    WHERE message_id >= \(range.lowerBound) AND message_id < \(range.upperBound) RETURNING *
                )
                INSERT INTO \(name) SELECT * FROM moved;
                ALTER TABLE messages ATTACH PARTITION \(name) FOR VALUES FROM (\(range.lowerBound)) TO (\(range.upperBound));
                """,
            timeout: Self.patience
        )
        logger.notice("partition created", metadata: ["partition": "\(name)"])
    }

    // MARK: Dropping

    /// Drops the partitions whose messages are all older than retention keeps them, the oldest first.
    func drop() async throws {
        guard let retentionDays else { return }
        let now = try await postgres.query("SELECT now_ms()").decode(Int64.self)
        let floor = MessageID.lowest(at: (now.first ?? 0) - Int64(retentionDays) * 86_400_000)
        while try await dropOldest(endingBy: floor) {}
    }

    /// - Returns: whether there was one.
    private func dropOldest(endingBy floor: Int64) async throws -> Bool {
        try await locked { connection in
            guard let oldest = try Partition.all(await connection.query(Partition.listing)).first,
                oldest.range.upperBound <= floor
            else { return false }
            // The numbers of what is dropped are not given again, and are nobody's unread.
            _ = try await connection.query(
                """
                INSERT INTO conversation_jumps (conversation_id, after_seq, to_seq, epoch)
                SELECT conversation_id, 0, max(seq), 'retention' FROM \(identifier: oldest.name)
                GROUP BY conversation_id
                ON CONFLICT (conversation_id, epoch) DO UPDATE
                SET to_seq = greatest(conversation_jumps.to_seq, excluded.to_seq)
                """,
                timeout: Self.patience
            )
            _ = try await connection.query(
                """
                DELETE FROM conversation_jumps AS inner_jump USING conversation_jumps AS dropped
                WHERE dropped.epoch = 'retention' AND inner_jump.epoch <> 'retention'
                    AND inner_jump.conversation_id = dropped.conversation_id AND inner_jump.to_seq <= dropped.to_seq
                """,
                timeout: Self.patience
            )
            // A change is later than its message.
            _ = try await connection.query(
                "DELETE FROM message_changes WHERE change_id < \(oldest.range.upperBound)",
                timeout: Self.patience
            )
            // The archiver takes the table before heads of conversations: so does this, or each waits for the other.
            _ = try await connection.query("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
            _ = try await connection.query(
                "DELETE FROM conversation_heads WHERE last_mid < \(oldest.range.upperBound)",
                timeout: Self.patience
            )
            _ = try await connection.query(
                "UPDATE retention SET dropped_below = greatest(dropped_below, \(oldest.range.upperBound))"
            )
            _ = try await connection.query("DROP TABLE \(identifier: oldest.name)")
            logger.notice("partition dropped", metadata: ["partition": "\(oldest.name)"])
            return true
        }
    }

    /// In a transaction of its own, one worker at a time. Readers and the archiver wait for the tables' locks while it
    /// waits for them, hence only for a while: the next round tries again.
    private func locked<R: Sendable>(_ body: @Sendable (PostgresConnection) async throws -> R) async throws -> R {
        try await postgres.transaction { connection in
            _ = try await connection.query(
                "SELECT pg_advisory_xact_lock(hashtext('parley partitions'))",
                timeout: Self.patience
            )
            _ = try await connection.query("SET LOCAL lock_timeout = '3s'")
            return try await body(connection)
        }
    }
}
