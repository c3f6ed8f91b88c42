/// The processor time and memory of a stack's processes, from /proc.
struct ServerUsage: Sendable {
    /// Processor time since the start of the processes, in microseconds.
    struct Groups: Sendable, Encodable {
        var gateways: Double
        var workers: Double
        var redis: Double
        var postgres: Double
        var total: Double
    }

    let cpu: Groups
    /// Resident memory of the gateways together, in KiB.
    let gatewayRSS: Int

    /// Reads the figures as they are now.
    init(of stack: StackDescription) throws {
        let processes = ProcessTable()
        func microseconds(_ pids: [Int32]) -> Double { pids.reduce(0) { $0 + processes.microseconds(ofTree: $1) } }
        let gateways = microseconds(stack.gateways.map(\.pid))
        let workers = microseconds(stack.workers.map(\.pid))
        let redis = microseconds([stack.redis.pid])
        let postgres = microseconds([stack.postgres.pid])
        cpu = Groups(
            gateways: gateways,
            workers: workers,
            redis: redis,
            postgres: postgres,
            total: gateways + workers + redis + postgres
        )
        gatewayRSS = try stack.gateways.reduce(0) { total, gateway in
            guard let rss = ProcessTable.residentKiB(gateway.pid) else {
                throw LoadError("\(gateway.name) (pid \(gateway.pid)) of the stack has ended")
            }
            return total + rss
        }
    }

    /// The processor time between two readings for each of so many messages, in microseconds.
    func cpu(since earlier: ServerUsage, messages: Int) -> Groups {
        func each(_ path: KeyPath<Groups, Double>) -> Double {
            messages == 0 ? 0 : rounded((cpu[keyPath: path] - earlier.cpu[keyPath: path]) / Double(messages))
        }
        return Groups(
            gateways: each(\.gateways),
            workers: each(\.workers),
            redis: each(\.redis),
            postgres: each(\.postgres),
            total: each(\.total)
        )
    }

    /// What each of so many sessions adds to the gateways' resident memory, in KiB.
    func rssPerSession(since earlier: ServerUsage, sessions: Int) -> Double {
        rounded(Double(gatewayRSS - earlier.gatewayRSS) / Double(max(1, sessions)))
    }
}
