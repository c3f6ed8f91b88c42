import Logging
import NIOCore
import NIOPosix
import RedisClient
import Synchronization

/// Runs `body` with a connected client and closes it afterwards.
func withClient<R>(
    of url: String,
    configure: (inout RedisConfiguration) -> Void = { _ in },
    prepare: @escaping RedisConnection.Preparation = { _ in },
    _ body: (RedisClient) async throws -> R
) async throws -> R {
    var configuration = try RedisConfiguration(url: url)
    configuration.commandTimeout = .seconds(60)
    configure(&configuration)
    let client = try RedisClient(
        configuration: configuration,
        eventLoops: Array(MultiThreadedEventLoopGroup.singleton.makeIterator()),
        logger: silentLogger,
        prepare: prepare
    )
    let outcome: Result<R, any Error>
    do {
        try await client.start(within: .seconds(30))
        outcome = .success(try await body(client))
    } catch {
        outcome = .failure(error)
    }
    await client.close()
    return try outcome.get()
}

/// What was heard, from any thread.
final class Recorder: Sendable {
    private let state = Mutex<[String]>([])

    var lines: [String] { state.withLock { $0 } }

    func add(_ line: String) { state.withLock { $0.append(line) } }
}

/// The error of a command that is expected to fail.
func failure(of command: () async throws -> RESPValue) async throws -> RedisError? {
    do {
        _ = try await command()
        return nil
    } catch let error as RedisError {
        return error
    }
}

let silentLogger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
let testEventLoop: any EventLoop = MultiThreadedEventLoopGroup.singleton.next()
