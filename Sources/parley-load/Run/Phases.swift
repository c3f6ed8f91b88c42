import NIOCore

/// What was measured between connecting and reading back.
struct Measurement: Sendable {
    /// In steps, of the highest rate that held; as long as none has, of the last that was tried.
    var results = PhaseResults()
    /// How long that was measured.
    var seconds = 0.0
    /// What the servers used meanwhile.
    var server: ServerFigures?
    var steps: Schedule.Steps?
    var timeline: [TimelinePoint] = []
    /// Why it was shorter than planned.
    var endedEarly: String?
}

/// Takes the workers through a schedule: has them offer load, looks every second how they fare, waits for the rest.
struct Phases: Sendable {
    let workers: WorkerGroup
    let schedule: Schedule
    /// Messages a second that the workers' plans add up to; nil without messages.
    let fullRate: Double?
    let drain: Double
    let meter: ServerMeter?
    let interrupt: Interrupt

    func run() async throws -> Measurement {
        var measurement = Measurement(steps: schedule.steps)
        var ticker = Ticker(start: .now(), hasMessages: fullRate != nil)
        guard let fullRate, var steps = schedule.steps else {
            _ = try await phase(factor: 1, &ticker, &measurement)
            measurement.timeline = ticker.points
            return measurement
        }
        while measurement.endedEarly == nil, let rate = steps.next {
            say("\(number(rate)) messages a second")
            var tried = Measurement()
            let isDrained = try await phase(factor: rate / fullRate, &ticker, &tried)
            measurement.endedEarly = tried.endedEarly
            if tried.endedEarly == nil {
                let step = steps.measured(tried.results, rate: rate, seconds: tried.seconds, isDrained: isDrained)
                say("\(number(rate)) a second: p99 \(milliseconds(step.p99)) ms, \(step.holds ? "holds" : "too slow")")
            }
            if steps.highest == rate || steps.highest == nil {
                (measurement.results, measurement.server) = (tried.results, tried.server)
                measurement.seconds = tried.seconds
            }
        }
        (measurement.steps, measurement.timeline) = (steps, ticker.points)
        return measurement
    }

    /// - Returns: whether everything arrived.
    private func phase(
        factor: Double,
        _ ticker: inout Ticker,
        _ measurement: inout Measurement
    ) async throws -> Bool {
        // Far enough ahead that every process has heard of it.
        let start = NIODeadline.now() + .milliseconds(50)
        let measureFrom = start + amount(seconds: schedule.warmup)
        let end = measureFrom + amount(seconds: schedule.duration)
        let phase = Phase(
            factor: factor,
            start: Int64(start.uptimeNanoseconds),
            measureFrom: Int64(measureFrom.uptimeNanoseconds),
            end: Int64(end.uptimeNanoseconds)
        )
        await workers.perform(.begin(phase))
        ticker.printHeader()
        var first: ServerReading?
        while measurement.endedEarly == nil {
            let now = NIODeadline.now()
            if now >= measureFrom, first == nil { first = await meter?.sample() }
            if now >= end { break }
            if now >= ticker.next {
                let progress = await workers.progress()
                ticker.tick(progress, isWarmup: now < measureFrom)
                measurement.endedEarly = progress.trouble ?? interrupt.reason
                // Processes may come and go: what one used is known as of the last look.
                _ = await meter?.sample()
                continue
            }
            let wake = min(ticker.next, now < measureFrom ? measureFrom : end)
            try await Task.sleep(for: .nanoseconds((wake - now).nanoseconds))
        }
        if let reason = measurement.endedEarly {
            say("ending early: \(reason)")
            await workers.perform(.stop)
        }
        measurement.seconds = max(0, Double((min(.now(), end) - measureFrom).nanoseconds) / 1e9)
        if let first { measurement.server = await meter?.sample().since(first) }
        let isDrained = try await drained(&ticker)
        measurement.endedEarly = measurement.endedEarly ?? interrupt.reason
        measurement.results = await workers.results()
        return isDrained
    }

    /// Waits until nothing is outstanding, for as long as the run allows and nobody presses Ctrl-C.
    private func drained(_ ticker: inout Ticker) async throws -> Bool {
        let deadline = NIODeadline.now() + amount(seconds: drain)
        let presses = interrupt.presses
        while true {
            let progress = await workers.progress()
            ticker.gather(progress)
            if progress.outstanding == 0 { return true }
            if NIODeadline.now() >= deadline || interrupt.presses > presses { return false }
            try await Task.sleep(for: .milliseconds(50))
        }
    }
}
