import Logging
import NIOCore
import NIOPosix
import RedisClient

/// What could not be pushed, for `parley push`: it needs Redis alone.
public struct PushDeadLetters {
    private let redis: RedisClient

    private static let page = 100

    /// - Throws: `Settings.Problem` when Redis cannot be reached.
    public init(settings: Settings) async throws {
        do {
            var configuration = try RedisConfiguration(url: settings.redisURL)
            configuration.clientName = "push"
            configuration.connectionsPerLoop = 1
            redis = try RedisClient(
                configuration: configuration,
                eventLoops: [MultiThreadedEventLoopGroup.singleton.next()],
                logger: Logger(label: "push") { _ in SwiftLogNoOpLogHandler() },
                prepare: { try await RedisFunctions.library.ensure(on: $0) }
            )
            try await redis.start(within: .seconds(5))
        } catch {
            throw Settings.Problem("Redis cannot be used: \(error.message). Set PARLEY_REDIS_URL.")
        }
    }

    /// The oldest ones, a line each; never what was written.
    public func lines(limit: Int) async throws -> [String] {
        try await letters(limit: limit).map { letter in
            let name = letter.fields["r"] ?? "-"
            let tries = letter.fields["n"] ?? "0"
            return "\(letter.id) since \(letter.fields["t"] ?? "-") tried \(tries) user \(letter.fields["u"] ?? "-") "
                + "registration \(name): \(letter.fields["w"] ?? "-")"
        }
    }

    /// - Parameter ids: nil for all that there are now.
    /// - Returns: how many were put back.
    public func replay(_ ids: [String]?) async throws -> Int {
        var count = 0
        guard let ids else {
            let end = try await redis.send("XREVRANGE", Keys.pushDead, "+", "-", "COUNT", "1").array?.first?.array?
                .first
            guard let last = end?.string else { return 0 }
            // What dies again meanwhile stands behind.
            while true {
                let letters = try await letters(limit: Self.page, upTo: last)
                guard !letters.isEmpty else { return count }
                count += try await put(back: letters.map(\.id))
            }
        }
        for start in stride(from: 0, to: ids.count, by: Self.page) {
            count += try await put(back: Array(ids[start..<min(start + Self.page, ids.count)]))
        }
        return count
    }

    private func put(back ids: [String]) async throws -> Int {
        Int(try await redis.send(PushCalls.replay(ids)).integer ?? 0)
    }

    private func letters(limit: Int, upTo: String = "+") async throws -> [(
        id: String, fields: [String: String]
    )] {
        let reply = try await redis.send("XRANGE", Keys.pushDead, "-", upTo, "COUNT", "\(limit)")
        return (reply.array ?? []).compactMap { entry in
            guard let parts = entry.array, parts.count == 2, let id = parts[0].string else { return nil }
            let values = (parts[1].array ?? []).map { $0.string ?? "" }
            var fields: [String: String] = [:]
            for index in stride(from: 0, to: values.count - 1, by: 2) { fields[values[index]] = values[index + 1] }
            return (id, fields)
        }
    }

    public func close() async { await redis.close() }
}
