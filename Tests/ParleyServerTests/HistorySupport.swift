import Logging
import NIOCore
import NIOPosix
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// History on a database and a Redis of one test's own, with messages that were archived long ago.
struct HistoryStack: Sendable {
    let databaseURL: String
    /// One connection, so that what its session counts is all that was done.
    let postgres: PostgresPool
    let client: RedisClient
    let ann = UserID.random()

    static let day: Int64 = 86_400_000
    static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// Runs `body` on fresh stores.
    /// - Parameter settings: of the database's sessions, such as `plan_cache_mode`.
    static func with(settings: [String: String] = [:], _ body: (HistoryStack) async throws -> Void) async throws {
        let url = try await PrivatePostgres.database()
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let redis = try await PrivateRedis()
        let client = try RedisClient(
            configuration: .patient(redis),
            eventLoops: [loop],
            logger: logger,
            prepare: { try await RedisFunctions.library.ensure(on: $0) }
        )
        let setUp = PostgresPool(configuration: PostgresConfiguration(url: url, connections: 1))
        _ = try await Migrator(pool: setUp).migrate(SchemaMigrations.all)
        for (name, value) in settings {
            _ = try await setUp.query(
                PostgresQuery(
                    unescaped: """
                        DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET \(name) = \(value)', current_database()); END $$
                        """
                )
            )
        }
        await setUp.shutdown()
        let postgres = PostgresPool(configuration: PostgresConfiguration(url: url, connections: 1))
        let outcome: Result<Void, any Error>
        do {
            try await client.start(within: .seconds(30))
            let stack = HistoryStack(databaseURL: url, postgres: postgres, client: client)
            outcome = .success(try await body(stack))
        } catch {
            outcome = .failure(error)
        }
        await client.close()
        await postgres.shutdown()
        try outcome.get()
    }

    /// A process's that has not looked at the partitions yet.
    var history: History {
        History(
            postgres: postgres,
            commitLog: CommitLog(redis: client),
            positions: ArchivePositions(postgres: postgres)
        )
    }

    func keeper(_ period: PartitionKeeper.Period = .month, retentionDays: Int? = nil) -> PartitionKeeper {
        PartitionKeeper(postgres: postgres, period: period, retentionDays: retentionDays, logger: Self.logger)
    }

    /// Puts messages into the archive, numbered on from what the conversation has, with its lane's position.
    /// - Parameters:
    ///   - start: of the first, in milliseconds since 1970.
    ///   - step: from one to the next, in milliseconds.
    /// - Returns: their ids.
    @discardableResult
    func archive(_ count: Int, in conversation: ConversationID, from start: Int64, step: Int64) async throws
        -> [MessageID]
    {
        let lane = Lane(of: conversation)
        let ids = (0..<count).compactMap {
            MessageID(unixMilliseconds: start + Int64($0) * step, lane: lane.number, sequence: 0)
        }
        let cids = (0..<count).map { Self.cid($0, milliseconds: start + Int64($0) * step).description }
        let last = try await history.lastSequence(of: conversation)
        _ = try await postgres.query(
            """
            INSERT INTO messages (conversation_id, message_id, seq, sender_id, cid, body)
            SELECT \(conversation.description), id, \(last) + number, \(ann.description), cid, 'number ' || number
            FROM unnest(\(ids.map { Int64($0.rawValue) })::bigint[], \(cids)::text[]) WITH ORDINALITY AS t(id, cid, number)
            """
        )
        _ = try await postgres.query(
            """
            UPDATE lanes SET position = greatest(position, \(Int64(ids.last?.rawValue ?? 0)))
            WHERE lane = \(Int32(lane.number))
            """
        )
        return ids
    }

    /// The cid that `archive` gives to the n-th message of a call, by its time.
    static func cid(_ number: Int, milliseconds: Int64) -> ClientMessageID {
        let low = 0x8000_0000_0000_0000 | UInt64(number)
        let high = UInt64(milliseconds) << 16 | 0x7000
        guard let cid = ClientMessageID(high: high, low: low) else { preconditionFailure("a UUIDv7") }
        return cid
    }

    func partitions() async throws -> [Partition] { try Partition.all(await postgres.query(Partition.listing)) }

    func count(_ table: String) async throws -> Int64 {
        let rows: [Int64] = try await postgres.query("SELECT count(*) FROM \(identifier: table)").decode(Int64.self)
        return rows.first ?? -1
    }

    /// The partitions that are searched while `body` runs, from how often the server has begun a scan of each.
    func searched(_ body: () async throws -> Void) async throws -> [String] {
        let before = try await scans()
        try await body()
        let after = try await scans()
        return after.filter { $0.value > before[$0.key] ?? 0 }.keys.sorted()
    }

    private func scans() async throws -> [String: Int64] {
        _ = try await postgres.query("SELECT pg_stat_force_next_flush()")
        let rows = try await postgres.query(
            """
            SELECT relname::text, (coalesce(seq_scan, 0) + coalesce(idx_scan, 0))::bigint
            FROM pg_stat_user_tables WHERE relname LIKE 'messages%'
            """
        )
        return Dictionary(uniqueKeysWithValues: try rows.decode((String, Int64).self).map { ($0.0, $0.1) })
    }
}
