import Logging
import NIOCore
import NIOPosix
import RedisClient

/// What `parley top` shows: the functions of the dashboard, asked again and again.
///
/// It needs Redis alone, so it shows a deployment that is broken too.
public struct TopView {
    /// Where the lanes are, and where the registry of gateways is: mostly the same.
    private let redis: RedisClient
    private let registry: RedisClient

    /// - Throws: `Settings.Problem` when a URL cannot be understood. Whether Redis is there shows in ``lines()``.
    public init(settings: Settings) async throws {
        func open(_ url: String) throws(Settings.Problem) -> RedisClient {
            // What goes wrong stands on the screen.
            let silent = Logger(label: "top") { _ in SwiftLogNoOpLogHandler() }
            do {
                var configuration = try RedisConfiguration(url: url)
                configuration.clientName = "top"
                configuration.connectionsPerLoop = 1
                configuration.commandTimeout = .seconds(2)
                let client = try RedisClient(
                    configuration: configuration,
                    eventLoops: [MultiThreadedEventLoopGroup.singleton.next()],
                    logger: silent,
                    prepare: { await Dashboard.offer(on: $0, logger: silent) }
                )
                client.start()
                return client
            } catch {
                throw Settings.Problem("Redis cannot be used: \(error.message). Set PARLEY_REDIS_URL.")
            }
        }
        redis = try open(settings.redisURL)
        let other = settings.volatileRedisURL.flatMap { $0 == settings.redisURL ? nil : $0 }
        registry = try other.map(open) ?? redis
    }

    /// Where it looks, without a password.
    public var endpoint: String { redis.configuration.endpoint }

    /// The deployment as of now.
    /// - Throws: `Settings.Problem` when Redis does not answer.
    public func lines() async throws -> [String] {
        do {
            var lines = try await ask(redis, "parley_top")
            if registry !== redis, let line = lines.firstIndex(where: { $0.hasPrefix("gateways ") }) {
                lines.replaceSubrange(line...line, with: try await ask(registry, "parley_gateways"))
            }
            if let stalls = try? await stalls() { lines.append(stalls) }
            return lines
        } catch let error as RedisError {
            throw Settings.Problem("Redis does not answer: \(error.message)")
        }
    }

    public func close() async {
        await redis.close()
        if registry !== redis { await registry.close() }
    }

    private func ask(_ client: RedisClient, _ function: String) async throws -> [String] {
        try await client.send("FCALL_RO", function, "0", repeatable: true).array?.compactMap(\.string) ?? []
    }

    /// What held Redis up of late, fsync above all. No function may ask that.
    private func stalls() async throws -> String {
        let now = try await redis.send("TIME", repeatable: true).array?.first?.integer ?? 0
        let events = (try await redis.send("LATENCY", "LATEST", repeatable: true).array ?? []).compactMap { event in
            let parts = event.array ?? []
            guard parts.count >= 4, let name = parts[0].string, let at = parts[1].integer else { return String?.none }
            return "\(name) \(parts[2].integer ?? 0) ms \(now - at) s ago, at most \(parts[3].integer ?? 0) ms"
        }
        return "stalls    " + (events.isEmpty ? "none that Redis noted" : events.joined(separator: "; "))
    }
}
