public import NIOCore
import NIOSSL

/// Where a Redis server is and how patient to be with it.
public struct RedisConfiguration: Sendable {
    public var host: String
    public var port: Int
    public var user: String?
    public var password: String?
    public var database: Int
    /// `rediss://`: the server's certificate and name are verified.
    public var usesTLS: Bool
    /// PEM file of the certificate authorities to trust with TLS; nil for the system's.
    public var caFile: String?

    /// Pipelined connections of each event loop. Redis reads at most 16 KiB of a connection at a time and makes one
    /// fsync for all that it read, so several connections make larger groups.
    public var connectionsPerLoop = 2
    /// How long a command may take, waiting for a connection included.
    public var commandTimeout = TimeAmount.seconds(5)
    public var connectTimeout = TimeAmount.seconds(3)
    public var backoff = RedisBackoff()
    /// Commands that may wait on one connection.
    public var maximumQueuedCommands = 20_000
    /// Shown in `CLIENT LIST`: which process this is.
    public var clientName = "parley"

    /// - Parameter url: `redis://` or `rediss://`, `[user][:password]@host[:port][/database][?ca=file]`; user, password
    ///   and file percent-encoded. `ca` is for `rediss://`: a PEM file of the authorities to trust instead of the
    ///   system's.
    /// - Throws: `RedisError` with code `.configuration`.
    public init(url: String) throws(RedisError) {
        func bad(_ why: String) -> RedisError {
            RedisError(
                .configuration,
                outcome: .failed,
                "\(why) in the Redis URL: redis[s]://[user:password@]host[:port][/db][?ca=file]"
            )
        }
        guard let schemeEnd = url.firstRange(of: "://") else { throw bad("no scheme") }
        switch url[..<schemeEnd.lowerBound] {
        case "redis": usesTLS = false
        case "rediss": usesTLS = true
        default: throw bad("unknown scheme")
        }
        var rest = url[schemeEnd.upperBound...]
        if let mark = rest.firstIndex(of: "?") {
            let query = rest[rest.index(after: mark)...]
            guard query.hasPrefix("ca="), let file = query.dropFirst(3).percentDecoded, !file.isEmpty, usesTLS else {
                throw bad("unknown parameter")
            }
            caFile = file
            rest = rest[..<mark]
        }
        database = 0
        if let slash = rest.firstIndex(of: "/") {
            let path = rest[rest.index(after: slash)...]
            guard path.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let number = path.isEmpty ? 0 : Int(path)
            else { throw bad("database is no number") }
            database = number
            rest = rest[..<slash]
        }
        if let at = rest.lastIndex(of: "@") {
            let parts = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = parts.first?.percentDecoded, let secret = parts.last?.percentDecoded else {
                throw bad("bad percent-encoding")
            }
            user = parts.count == 2 && !name.isEmpty ? name : nil
            password = secret.isEmpty ? nil : secret
            rest = rest[rest.index(after: at)...]
        }
        var portText: Substring?
        if rest.hasPrefix("["), let bracket = rest.firstIndex(of: "]") {
            host = String(rest[rest.index(after: rest.startIndex)..<bracket])
            let tail = rest[rest.index(after: bracket)...]
            portText = tail.hasPrefix(":") ? tail.dropFirst() : nil
        } else {
            let parts = rest.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            host = String(parts.first ?? "")
            portText = parts.count == 2 ? parts[1] : nil
        }
        port = portText.map { Int($0) ?? 0 } ?? 6379
        guard !host.isEmpty else { throw bad("no host") }
        guard (1...65535).contains(port) else { throw bad("bad port") }
    }

    /// For logs and errors: never the password.
    public var endpoint: String { "\(usesTLS ? "rediss" : "redis")://\(host):\(port)/\(database)" }
}

/// Exponential backoff with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
public struct RedisBackoff: Sendable {
    public var base = TimeAmount.milliseconds(50)
    public var cap = TimeAmount.seconds(2)

    public init() {}

    /// - Parameter attempt: 0 for the first retry.
    public func delay(attempt: Int) -> TimeAmount {
        let ceiling = min(cap.nanoseconds, base.nanoseconds << Int64(min(attempt, 20)))
        return .nanoseconds(.random(in: 0...ceiling))
    }
}

extension Substring {
    fileprivate var percentDecoded: String? {
        var bytes: [UInt8] = []
        var rest = utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            let digits = rest.prefix(2)
            guard digits.count == 2, digits.first != UInt8(ascii: "+"),
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
            else { return nil }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}
