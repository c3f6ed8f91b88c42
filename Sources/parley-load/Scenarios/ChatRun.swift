import Histogram
import NIOCore
import NIOPosix
import ParleyClient

/// One run of chat, from sign-up to judgement.
struct ChatRun {
    struct Plan: Sendable {
        /// Even.
        var users: Int
        /// Messages a second, of all users together.
        var rate: Double
        /// What is measured, in seconds.
        var duration: Double
        /// Before it, in seconds.
        var warmup = 5.0
        /// At the end, for what is still to come, in seconds at most.
        var drain = 30.0
        var bodyBytes = 100
        var isPoisson = true
        /// Event loops.
        var threads = 1
    }

    let gateways: [Target]
    let stack: StackDescription?
    let group: MultiThreadedEventLoopGroup
    let plan: Plan

    private typealias Loops = [OnLoop<ChatLoop>]

    func run() async throws -> ChatReport {
        let users = plan.users
        try allowDescriptors(for: users)
        say("signing up \(users) users")
        let seats = try await Roster(gateways: gateways, group: group).seats(users)
        let before = try stack.map { try ServerUsage(of: $0) }

        say("connecting \(users) devices to \(gateways.count) gateway\(gateways.count == 1 ? "" : "s")")
        let shares = shares(of: users, loops: plan.threads, unit: 2)
        let loops = try await makeLoops(shares.map { Array(seats[$0]) })
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for loop in loops { tasks.addTask { try await loop.wait { $0.fleet.connectAll() } } }
            try await tasks.waitForAll()
        }
        let connected = try stack.map { try ServerUsage(of: $0) }

        let (first, last, generator) = try await send(on: loops)
        try await drain(loops)
        var report = ChatReport(seconds: plan.duration)
        for loop in loops {
            let (results, counts, verdict) = try await loop.run { ($0.results, $0.fleet.counts, $0.ledger.verdict()) }
            report.results += results
            report.fleet += counts
            report.violations += verdict
        }
        report.generatorMicroseconds = report.results.sent == 0 ? 0 : generator / Double(report.results.sent)
        if let first, let last { report.cpu = last.cpu(since: first, messages: report.results.sent) }
        if let before, let connected {
            report.rssPerSession = connected.rssPerSession(since: before, sessions: users)
        }

        say("reading histories back")
        for (loop, share) in zip(loops, shares) where !share.isEmpty {
            let ledger = try await loop.run { $0.ledger }
            let (violations, read) = try await HistoryCheck(group: group).run(ledger, seats: Array(seats[share]))
            report.violations += violations
            report.conversationsRead += read
        }
        for loop in loops { try await loop.run { $0.fleet.closeAll() } }
        return report
    }

    private func makeLoops(_ seats: [[Seat]]) async throws -> Loops {
        var loops: Loops = []
        let eventLoops = Array(group.makeIterator())
        for (seats, eventLoop) in zip(seats, eventLoops) {
            let loopPlan = ChatLoop.Plan(
                seats: seats,
                rate: plan.rate * Double(seats.count) / Double(plan.users),
                bodyBytes: plan.bodyBytes,
                isPoisson: plan.isPoisson
            )
            if seats.isEmpty { continue }
            loops.append(try await OnLoop(eventLoop) { ChatLoop(plan: loopPlan, eventLoop: $0) })
        }
        return loops
    }

    /// Sends through warm-up and measurement, with a line a second.
    /// - Returns: the servers' figures at both ends of the measurement, and the generator's own processor time in it.
    private func send(on loops: Loops) async throws -> (ServerUsage?, ServerUsage?, Double) {
        let (warmup, duration) = (amount(seconds: plan.warmup), amount(seconds: plan.duration))
        let start = NIODeadline.now()
        for loop in loops { try await loop.run { $0.start(warmup: warmup, duration: duration) } }
        let measureFrom = start + warmup
        let end = measureFrom + duration
        var first: ServerUsage?
        var ownFirst: Double?
        var line = 0
        say("   s    acked/s   p50 ms   p99 ms   connected   errors")
        while true {
            let now = NIODeadline.now()
            if ownFirst == nil, now >= measureFrom {
                first = try stack.map { try ServerUsage(of: $0) }
                ownFirst = ownMicroseconds()
            }
            if now >= end { break }
            let next = start + .seconds(Int64(line + 1))
            if now >= next {
                line += 1
                try await progress(line, loops, isWarmup: now < measureFrom)
                continue
            }
            let wake = min(next, now < measureFrom ? measureFrom : end)
            try await Task.sleep(for: .nanoseconds((wake - now).nanoseconds))
        }
        let last = try stack.map { try ServerUsage(of: $0) }
        return (first, last, ownMicroseconds() - (ownFirst ?? 0))
    }

    private func progress(_ second: Int, _ loops: Loops, isWarmup: Bool) async throws {
        var recent = Latencies()
        var (acked, connected, errors) = (0, 0, 0)
        for loop in loops {
            let part = try await loop.run { $0.takeProgress() }
            recent.histogram.add(part.recent.histogram)
            (acked, connected, errors) = (acked + part.acked, connected + part.connected, errors + part.errors)
        }
        let cells = [
            pad(String(second), 4), pad(String(acked), 10), pad(milliseconds(recent.percentile(50)), 8),
            pad(milliseconds(recent.percentile(99)), 8), pad(String(connected), 11), pad(String(errors), 8),
        ]
        say(cells.joined(separator: " ") + (isWarmup ? "   warm-up" : ""))
    }

    /// Waits until nothing is outstanding, or for as long as the plan allows.
    private func drain(_ loops: Loops) async throws {
        let deadline = NIODeadline.now() + amount(seconds: plan.drain)
        while NIODeadline.now() < deadline {
            var outstanding = 0
            for loop in loops { outstanding += try await loop.run { $0.ledger.outstanding } }
            if outstanding == 0 { return }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    private func ownMicroseconds() -> Double {
        ProcessTable.ownMicroseconds()
    }
}
