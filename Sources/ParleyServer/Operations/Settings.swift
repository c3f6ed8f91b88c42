public import Logging
import NIOCore
import NIOPosix
import ParleyCore
import RedisClient

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif
#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Everything a process can be told from outside. This is the only place that reads it: command-line options first,
/// then `PARLEY_…` in the environment, then the file that `PARLEY_CONFIG_FILE` names (`KEY=value` lines).
public struct Settings: Sendable {
    /// What is wrong with which setting; one line for a person.
    public struct Problem: Error, CustomStringConvertible {
        public let description: String
    }

    private let values: [String: String]

    /// - Parameter options: from the command line, by the name of the variable that says the same.
    public init(options: [String: String?], environment: [String: String]) throws(Problem) {
        var values = environment.filter { $0.key.hasPrefix("PARLEY_") }
        if let path = options["PARLEY_CONFIG_FILE"] ?? values["PARLEY_CONFIG_FILE"] {
            for (key, value) in try Self.file(path) where values[key] == nil { values[key] = value }
        }
        for (key, value) in options { values[key] = value ?? values[key] }
        self.values = values
    }

    private static func file(_ path: String) throws(Problem) -> [String: String] {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw Problem(description: "the configuration file \(path) cannot be read")
        }
        var values: [String: String] = [:]
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let line = line.drop(while: \.isWhitespace)
            guard !line.isEmpty, !line.hasPrefix("#") else { continue }
            guard let equals = line.firstIndex(of: "="), line.hasPrefix("PARLEY_") else {
                throw Problem(description: "\(path), line \(index + 1): expected PARLEY_NAME=value")
            }
            values[String(line[..<equals])] = String(line[line.index(after: equals)...])
        }
        return values
    }

    // MARK: What is needed

    public var redisURL: String { values["PARLEY_REDIS_URL"] ?? "redis://127.0.0.1:6379" }
    /// For what may be lost: the channels of presence, and the registry of gateways.
    public var volatileRedisURL: String { values["PARLEY_REDIS_VOLATILE_URL"] ?? redisURL }
    public var postgresURL: String { values["PARLEY_POSTGRES_URL"] ?? "postgres://127.0.0.1:5432/parley" }
    public var bindAddress: String { values["PARLEY_BIND"] ?? "127.0.0.1" }

    public func port() throws(Problem) -> Int { try integer("PARLEY_PORT", default: 8080, in: 0...65535) }
    public func healthPort() throws(Problem) -> Int? {
        values["PARLEY_HEALTH_PORT"] == nil ? nil : try integer("PARLEY_HEALTH_PORT", default: 0, in: 0...65535)
    }
    public func name(default fallback: String) -> String { values["PARLEY_NAME"] ?? fallback }

    public func logLevel() throws(Problem) -> Logger.Level { try choice("PARLEY_LOG_LEVEL", default: .info) }

    /// Event loops of a gateway. One serves many thousand sessions; more processes scale further than more threads.
    func threads() throws(Problem) -> Int { try integer("PARLEY_THREADS", default: 1, in: 1...256) }

    func postgresConnections() throws(Problem) -> Int {
        try integer("PARLEY_POSTGRES_CONNECTIONS", default: 8, in: 1...200)
    }

    /// Pipelined Redis connections of each event loop.
    func redisConnections() throws(Problem) -> Int { try integer("PARLEY_REDIS_CONNECTIONS", default: 2, in: 1...64) }

    func tokenKeys() throws(Problem) -> TokenKeys {
        guard let path = values["PARLEY_TOKEN_KEY_FILE"] else {
            throw Problem(
                description:
                    "PARLEY_TOKEN_KEY_FILE is not set: a file with 32 random bytes in base64, the same for all "
                    + "gateways (head -c 32 /dev/urandom | base64)"
            )
        }
        do {
            return try TokenKeys(file: path)
        } catch {
            throw Problem(description: "PARLEY_TOKEN_KEY_FILE: \(error)")
        }
    }

    func passwordCost() throws(Problem) -> ScryptCost {
        switch values["PARLEY_PASSWORD_COST"] ?? "full" {
        case "full": return .full
        case "cheap": return .cheap
        case let other: throw Problem(description: "PARLEY_PASSWORD_COST: \(other) is neither full nor cheap")
        }
    }

    func gateway() throws(Problem) -> GatewayConfiguration {
        var gateway = GatewayConfiguration()
        gateway.name = name(default: "gateway-1")
        let port = try port()
        gateway.publicURL = values["PARLEY_PUBLIC_URL"] ?? "http://\(bindAddress):\(port)"
        gateway.zone = values["PARLEY_ZONE"] ?? gateway.zone
        gateway.capacity = try integer("PARLEY_CAPACITY", default: gateway.capacity, in: 1...10_000_000)
        gateway.allowedOrigins = Set((values["PARLEY_ALLOWED_ORIGINS"] ?? "").split(separator: ",").map(String.init))
        gateway.heartbeat = .milliseconds(Int64(try integer("PARLEY_HEARTBEAT_MS", default: 25_000, in: 500...600_000)))
        let grace = try integer("PARLEY_PRESENCE_GRACE_MS", default: 30_000, in: 0...3_600_000)
        gateway.presenceGrace = .milliseconds(Int64(grace))
        gateway.drainWindow = .milliseconds(Int64(try integer("PARLEY_DRAIN_MS", default: 30_000, in: 0...600_000)))
        gateway.rebalancing.band = Double(try integer("PARLEY_REBALANCE_PERCENT", default: 20, in: 0...1000)) / 100
        gateway.rebalancing.leastExcess = try integer("PARLEY_REBALANCE_SESSIONS", default: 100, in: 1...1_000_000)
        gateway.backlogLimit = try integer("PARLEY_BACKLOG", default: gateway.backlogLimit, in: 1...Int.max)
        gateway.changeWindow = 1000 * Int64(try integer("PARLEY_CHANGE_WINDOW_S", default: 86_400, in: 0...1 << 40))
        gateway.acknowledgement = try choice("PARLEY_ACK", default: .committed)
        return gateway
    }

    func commit() throws(Problem) -> CommitConfiguration {
        var commit = CommitConfiguration()
        commit.dedupWindow = 1000 * Int64(try integer("PARLEY_DEDUP_WINDOW_S", default: 600, in: 1...86_400))
        commit.queueCap = try integer("PARLEY_QUEUE_CAP", default: commit.queueCap, in: 100...10_000_000)
        commit.absence = 1000 * Int64(try integer("PARLEY_ABSENCE_S", default: 604_800, in: 1...1 << 40))
        commit.deviceLimit = try integer("PARLEY_DEVICE_LIMIT", default: commit.deviceLimit, in: 1...1000)
        return commit
    }

    func groups() throws(Problem) -> GroupConfiguration {
        var groups = GroupConfiguration()
        groups.memberLimit = try integer("PARLEY_GROUP_LIMIT", default: groups.memberLimit, in: 1...500)
        groups.history = try choice("PARLEY_GROUP_HISTORY", default: groups.history)
        return groups
    }

    func friends() throws(Problem) -> FriendConfiguration {
        var friends = FriendConfiguration()
        friends.friendLimit = try integer("PARLEY_FRIEND_LIMIT", default: friends.friendLimit, in: 1...100_000)
        friends.requestLimit = try integer("PARLEY_REQUEST_LIMIT", default: friends.requestLimit, in: 1...100_000)
        return friends
    }

    func partitionPeriod() throws(Problem) -> PartitionKeeper.Period { try choice("PARLEY_PARTITION", default: .month) }

    /// nil for all history. Below a week, sends of clients that were offline for a while would be too old to be judged.
    func retentionDays() throws(Problem) -> Int? {
        values["PARLEY_RETENTION_DAYS"] == nil
            ? nil : try integer("PARLEY_RETENTION_DAYS", default: 0, in: 7...36_500)
    }

    /// Runs a server, and says it for a person when its port is taken.
    static func explainingTakenPort(_ port: Int, _ variable: String, _ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch let error as IOError where error.errnoCode == EADDRINUSE {
            throw Problem(description: "Port \(port) is taken. Set \(variable).")
        }
    }

    // MARK: Reading

    private func integer(_ key: String, default fallback: Int, in range: ClosedRange<Int>) throws(Problem) -> Int {
        guard let text = values[key] else { return fallback }
        guard let value = Int(text), range.contains(value) else {
            throw Problem(description: "\(key): \(text) is no number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    private func choice<T: RawRepresentable & CaseIterable>(_ key: String, default fallback: T) throws(Problem) -> T
    where T.RawValue == String {
        guard let text = values[key] else { return fallback }
        guard let value = T(rawValue: text) else {
            let allowed = T.allCases.map(\.rawValue).joined(separator: ", ")
            throw Problem(description: "\(key): \(text) is none of \(allowed)")
        }
        return value
    }
}
