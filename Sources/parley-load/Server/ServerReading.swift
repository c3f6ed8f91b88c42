/// What a stack has used up to a moment: sums that only grow, whichever processes ended and came.
struct ServerReading: Sendable {
    /// Processor time by group, in microseconds.
    var cpu: [ServerGroup: Double]
    /// Resident memory of each gateway, in KiB; nil while one of them has ended.
    var gatewayRSS: [ProcessID: Int]?
    /// Nil as long as Redis never answered.
    var redis: RedisUsage?

    /// What was used between an earlier reading and this one.
    func since(_ earlier: ServerReading) -> ServerFigures {
        var growth: Int?
        if let before = earlier.gatewayRSS, let now = gatewayRSS, before.keys == now.keys {
            growth = now.values.reduce(0, +) - before.values.reduce(0, +)
        }
        var usage: RedisUsage?
        if let before = earlier.redis { usage = redis?.combined(with: before, -) }
        return ServerFigures(
            cpu: cpu.merging(earlier.cpu, uniquingKeysWith: -),
            gatewayRSSGrowth: growth,
            redis: usage
        )
    }
}

/// What a stack used in a span of time.
struct ServerFigures: Sendable {
    /// Processor time by group, in microseconds.
    var cpu: [ServerGroup: Double]
    /// By how much the gateways' resident memory grew, in KiB; nil where one ended or started meanwhile.
    var gatewayRSSGrowth: Int?
    /// Nil where Redis did not answer.
    var redis: RedisUsage?

    /// Each of so many messages' share; nil without messages.
    func perMessage(_ messages: Int) -> ServerCost? {
        guard messages > 0 else { return nil }
        func share(_ amount: Double) -> Double { rounded(amount / Double(messages)) }
        func cpu(_ group: ServerGroup) -> Double { self.cpu[group] ?? 0 }
        var calls = redis?.calls.mapValues { share(Double($0)) }.filter { $0.value > 0 }
        calls?["total"] = redis.map { share(Double($0.calls.values.reduce(0, +))) }
        return ServerCost(
            cpu: .init(
                gateways: share(cpu(.gateways)),
                workers: share(cpu(.workers)),
                redis: share(cpu(.redis)),
                postgres: share(cpu(.postgres)),
                total: share(self.cpu.values.reduce(0, +))
            ),
            redisCalls: calls,
            bytesToRedis: redis.map { share(Double($0.input)) },
            bytesFromRedis: redis.map { share(Double($0.output)) }
        )
    }

    /// What each of so many sessions added to the gateways' resident memory, in KiB.
    func rssPerSession(_ sessions: Int) -> Double? {
        guard sessions > 0 else { return nil }
        return gatewayRSSGrowth.map { rounded(Double($0) / Double(sessions)) }
    }
}

/// What a message costs the servers.
struct ServerCost: Sendable {
    /// Processor time by group, in microseconds.
    struct CPU: Sendable, Encodable {
        var gateways: Double
        var workers: Double
        var redis: Double
        var postgres: Double
        var total: Double
    }

    var cpu: CPU
    /// By command, and their `total`; commands that a function calls inside Redis among them.
    var redisCalls: [String: Double]?
    var bytesToRedis: Double?
    var bytesFromRedis: Double?
}

/// To three decimals.
func rounded(_ number: Double) -> Double { (number * 1000).rounded() / 1000 }
