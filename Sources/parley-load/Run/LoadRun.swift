import NIOCore
import NIOPosix

/// A run, from sign-up to judgement.
struct LoadRun {
    let plan: LoadPlan
    var schedule: Schedule
    /// At the end of each phase, for what is still to come, in seconds at most.
    var drain = 30.0
    /// Generator processes; 1 is this one alone.
    var processes = 1
    var stack: StackDescription?
    /// Event loops of this process.
    let group: MultiThreadedEventLoopGroup
    var interrupt = Interrupt()

    func run() async throws -> RunReport {
        let workers = try makeWorkers()
        var report = RunReport(plan: plan, schedule: schedule, processes: processes)
        say("signing up \(plan.users) users")
        try await workers.perform(.signUp)
        let before = reading()

        let gateways = plan.gateways.count
        say("connecting \(plan.users) devices to \(gateways) gateway\(gateways == 1 ? "" : "s")")
        let start = NIODeadline.now()
        try await workers.perform(.connect)
        report.connectSeconds = Double((NIODeadline.now() - start).nanoseconds) / 1e9
        say("connected in \(number(report.connectSeconds)) s")
        let connected = reading()

        try await measure(workers, into: &report)
        let held = reading()
        say(plan.chat == nil ? "closing" : "reading histories back")
        report.outcome = try await workers.finish()
        report.endedEarly = report.endedEarly ?? report.outcome.trouble
        // Idle sessions alone are weighed when they were held for a while: what connecting took is then given back.
        if let before, let after = plan.chat == nil ? held : connected {
            report.rssPerSession = after.rssPerSession(since: before, sessions: plan.users)
        }
        return report
    }

    private func makeWorkers() throws -> WorkerGroup {
        if processes == 1 { return WorkerGroup(workers: [LocalWorker(plan, eventLoop: group.any())]) }
        return WorkerGroup(workers: try (0..<processes).map { try ProcessWorker(plan.share($0, of: processes)) })
    }

    /// Goes through the schedule's phases.
    private func measure(_ workers: WorkerGroup, into report: inout RunReport) async throws {
        var ticker = Ticker(start: NIODeadline.now() + .milliseconds(50), hasMessages: plan.chat != nil)
        guard var steps = schedule.steps else {
            (report.results, _) = try await phase(factor: 1, workers, &ticker, &report)
            report.timeline = ticker.points
            return
        }
        while report.endedEarly == nil, let rate = steps.next, let full = plan.chat?.rate {
            say("\(number(rate)) messages a second")
            let (results, isDrained) = try await phase(factor: rate / full, workers, &ticker, &report)
            guard report.endedEarly == nil else { break }
            steps.measured(results, rate: rate, seconds: schedule.duration, isDrained: isDrained)
            if let step = steps.results.last {
                say("\(number(rate)) a second: p99 \(milliseconds(step.p99)) ms, \(step.holds ? "holds" : "too slow")")
                // The figures of the report are those of the highest rate that held.
                if step.holds { report.results = results }
            }
        }
        report.steps = steps
        report.timeline = ticker.points
    }

    private func phase(
        factor: Double,
        _ workers: WorkerGroup,
        _ ticker: inout Ticker,
        _ report: inout RunReport
    ) async throws -> (PhaseResults, isDrained: Bool) {
        let start = NIODeadline.now() + .milliseconds(50)
        let measureFrom = start + amount(seconds: schedule.warmup)
        let end = measureFrom + amount(seconds: schedule.duration)
        let phase = Phase(
            factor: factor,
            start: Int64(start.uptimeNanoseconds),
            measureFrom: Int64(measureFrom.uptimeNanoseconds),
            end: Int64(end.uptimeNanoseconds)
        )
        try await workers.perform(.begin(phase))
        ticker.printHeader()
        var first: ServerUsage?
        while true {
            let now = NIODeadline.now()
            if now >= measureFrom, first == nil { first = reading() }
            if now >= end { break }
            if now >= ticker.next {
                let progress = try await workers.progress()
                ticker.tick(progress, isWarmup: now < measureFrom)
                report.endedEarly = progress.trouble ?? interrupt.reason
                if report.endedEarly != nil { break }
                continue
            }
            let wake = min(ticker.next, now < measureFrom ? measureFrom : end)
            try await Task.sleep(for: .nanoseconds((wake - now).nanoseconds))
        }
        let last = reading()
        if let reason = report.endedEarly {
            say("ending early: \(reason)")
            try await workers.perform(.stop)
        }
        let isDrained = try await drained(workers, &ticker)
        let results = try await workers.results()
        if let first, let last, results.sent > 0 { report.cpu = last.cpu(since: first, messages: results.sent) }
        return (results, isDrained)
    }

    /// Waits until nothing is outstanding, or for as long as the run allows.
    private func drained(_ workers: WorkerGroup, _ ticker: inout Ticker) async throws -> Bool {
        let deadline = NIODeadline.now() + amount(seconds: drain)
        while true {
            let progress = try await workers.progress()
            ticker.gather(progress)
            if progress.outstanding == 0 { return true }
            if NIODeadline.now() >= deadline || interrupt.isTwice { return false }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    private func reading() -> ServerUsage? {
        stack.flatMap { try? ServerUsage(of: $0) }
    }
}
