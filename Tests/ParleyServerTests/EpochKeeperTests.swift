import Logging
import NIOCore
import NIOPosix
import PostgresClient
import RedisClient
import Synchronization
import TestSupport
import Testing

@testable import ParleyServer

@Suite struct EpochKeeperTests {
    /// A connection that is prepared waits for the lock under which the server is looked at.
    @Test func `looking anew waits for no connection`() async throws {
        let redis = try await PrivateRedis()
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let pool = PostgresPool(
            configuration: PostgresConfiguration(url: try await PrivatePostgres.database(), connections: 2),
            logger: logger
        )
        _ = try await Migrator(pool: pool).migrate(SchemaMigrations.all)
        let epochs = EpochKeeper(archive: ArchivePositions(postgres: pool), logger: logger)
        var configuration = try RedisConfiguration(url: redis.url)
        configuration.connectionsPerLoop = 2
        configuration.commandTimeout = .seconds(20)
        let prepared = Mutex(0)
        let (gate, opening) = AsyncStream<Void>.makeStream()
        let client = try RedisClient(
            configuration: configuration,
            eventLoops: [MultiThreadedEventLoopGroup.singleton.next()],
            logger: logger
        ) { handshake in
            let isSecond = prepared.withLock { count in
                count += 1
                return count == 2
            }
            if isSecond { for await _ in gate {} }
            try await epochs.prepare(handshake)
        }
        client.start()
        #expect(try await eventually { (try? await epochs.verify(on: client)) != nil })
        for _ in 0..<4 { try await epochs.verify(on: client) }
        opening.finish()
        try await client.start(within: .seconds(60))
        #expect(!epochs.epoch.isEmpty)
        await client.close()
        await #expect(throws: RedisError.self) { try await epochs.verify(on: client) }
        await pool.shutdown()
    }
}
