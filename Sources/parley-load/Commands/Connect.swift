import ArgumentParser
import NIOCore
import NIOPosix
import ParleyClient

struct Connect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Holds idle signed-in sessions, one a user, and tells what each costs the gateways.",
        discussion: """
            Above 5,000 sessions towards loopback gateways the sources are 127.0.0.2 and up. The memory a session takes
            is what the gateways' RSS grew by from before the first connection to the end of the hold: measure it on
            gateways that were started for it, since others fill memory that earlier sessions left free.
            """
    )

    @OptionGroup var target: TargetOptions

    func run() async throws {
        try await runScenario(threads: target.threads) { group in
            let stack = try target.stackDescription()
            let gateways = try target.targets(of: stack)
            let report = try await hold(gateways, stack, group)
            report.printTable()
            if let path = target.json { try writeJSON(report, to: path) }
            return report.holds
        }
    }

    private func hold(
        _ gateways: [Target],
        _ stack: StackDescription?,
        _ group: MultiThreadedEventLoopGroup
    ) async throws -> ConnectReport {
        try allowDescriptors(for: target.users)
        say("signing up \(target.users) users")
        let seats = try await Roster(gateways: gateways, group: group).seats(target.users)
        let before = try stack.map { try ServerUsage(of: $0) }

        say("connecting")
        let start = NIODeadline.now()
        var loops: [OnLoop<ConnectLoop>] = []
        let shares = shares(of: target.users, loops: target.threads, unit: 1)
        for (share, eventLoop) in zip(shares, Array(group.makeIterator())) where !share.isEmpty {
            let seats = Array(seats[share])
            loops.append(try await OnLoop(eventLoop) { ConnectLoop(seats: seats, eventLoop: $0) })
        }
        let (running, total) = (loops, target.users)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for loop in running { tasks.addTask { try await loop.wait { $0.fleet.connectAll() } } }
            try await tasks.waitForAll()
        }
        let connectSeconds = Double((NIODeadline.now() - start).nanoseconds) / 1e9
        say("\(total) sessions in \(number(connectSeconds)) s; holding them for \(number(target.duration)) s")

        let end = NIODeadline.now() + amount(seconds: target.duration)
        while NIODeadline.now() < end {
            try await Task.sleep(for: .nanoseconds(min(5_000_000_000, (end - .now()).nanoseconds)))
            let (counts, pings) = try await figures(of: running)
            say("connected \(counts.connected)   heartbeats \(pings)   unexpected closes \(counts.unexpectedCloses)")
        }
        let after = try stack.map { try ServerUsage(of: $0) }
        let (counts, pings) = try await figures(of: running)
        for loop in running { try await loop.run { $0.fleet.closeAll() } }
        // Presence ends with the close frames: let them leave.
        try await Task.sleep(for: .milliseconds(500))
        return ConnectReport(
            sessions: total,
            connected: counts.connected,
            connect_seconds: rounded(connectSeconds),
            connects_per_second: rounded(Double(total) / connectSeconds),
            failures: counts.failures,
            heartbeats_answered: pings,
            unexpected_closes: counts.unexpectedCloses,
            last_close_reason: counts.lastReason,
            rss_kb_per_session: before.flatMap { before in
                after.map { $0.rssPerSession(since: before, sessions: total) }
            }
        )
    }

    private func figures(of loops: [OnLoop<ConnectLoop>]) async throws -> (Fleet.Counts, Int) {
        var counts = Fleet.Counts()
        var pings = 0
        for loop in loops {
            let (part, answered) = try await loop.run { ($0.fleet.counts, $0.fleet.pingsAnswered) }
            counts += part
            pings += answered
        }
        return (counts, pings)
    }
}

/// What a run of connect comes to.
struct ConnectReport: Encodable {
    var scenario = "connect"
    let sessions: Int
    let connected: Int
    let connect_seconds: Double
    let connects_per_second: Double
    let failures: Int
    let heartbeats_answered: Int
    let unexpected_closes: Int
    let last_close_reason: String?
    let rss_kb_per_session: Double?

    /// Whether every session held.
    var holds: Bool { connected == sessions && unexpected_closes == 0 }

    func printTable() {
        var rows = [
            ("sessions", "\(connected) of \(sessions)"),
            ("connected in", "\(number(connect_seconds)) s, \(number(connects_per_second)) a second"),
            ("failed attempts", "\(failures)"),
            ("heartbeats answered", "\(heartbeats_answered)"),
            ("unexpected closes", "\(unexpected_closes)"),
        ]
        if let last_close_reason { rows.append(("last failure or close", last_close_reason)) }
        if let rss_kb_per_session { rows.append(("RSS a session, KiB", number(rss_kb_per_session))) }
        say("")
        parley_load.printTable(rows)
    }
}
