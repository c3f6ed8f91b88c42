import Foundation

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

/// To three decimals.
func rounded(_ number: Double) -> Double { (number * 1000).rounded() / 1000 }

/// All processes at one moment: who descends from whom, and what each has used.
struct ProcessTable {
    private var children: [Int32: [Int32]] = [:]
    private var ticks: [Int32: Int] = [:]

    init() {
        let entries = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        for pid in entries.compactMap({ Int32($0) }) {
            guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
                let nameEnd = stat.lastIndex(of: ")")
            else { continue }
            // After the name: state, ppid, …; utime, stime and those of children that ended are fields 14 to 17.
            let fields = stat[stat.index(after: nameEnd)...].split(separator: " ")
            guard fields.count > 14, let parent = Int32(fields[1]) else { continue }
            children[parent, default: []].append(pid)
            ticks[pid] = fields[11...14].reduce(0) { $0 + (Int($1) ?? 0) }
        }
    }

    /// The processor time of a process, its descendants and those of them that ended.
    func microseconds(ofTree pid: Int32) -> Double {
        let own = Double(ticks[pid] ?? 0) * 1_000_000 / Double(sysconf(Int32(_SC_CLK_TCK)))
        return children[pid, default: []].reduce(own) { $0 + microseconds(ofTree: $1) }
    }

    static func residentKiB(_ pid: Int32) -> Int? {
        guard let status = try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmRSS:") })
        else { return nil }
        return line.split(separator: " ").dropFirst().first.flatMap { Int($0) }
    }
}

extension ProcessTable {
    /// This process's own processor time, in microseconds.
    static func ownMicroseconds() -> Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        func microseconds(_ time: timeval) -> Double { Double(time.tv_sec) * 1e6 + Double(time.tv_usec) }
        return microseconds(usage.ru_utime) + microseconds(usage.ru_stime)
    }
}
