import NIOCore
import NIOPosix

/// A run, from sign-up to judgement.
struct LoadRun: Sendable {
    let plan: LoadPlan
    var schedule: Schedule
    /// At the end of each phase, for what is still to come, in seconds at most.
    var drain = 30.0
    /// Generator processes; 1 is this one alone.
    var processes = 1
    /// Reads what the servers use; nil where they are not known.
    var meter: ServerMeter?
    /// What goes wrong meanwhile.
    var faults: FaultRunner?
    /// Event loops of this process.
    let group: MultiThreadedEventLoopGroup
    var interrupt = Interrupt()

    private static let settling = Duration.seconds(2)

    func run() async throws -> RunReport {
        let workers = try makeWorkers()
        say(plan.seedDatabase == nil ? "signing up \(plan.users) users" : "seeding \(plan.users) users")
        let begun = NIODeadline.now()
        try await prepare(workers, .signUp)
        say("have them in \(number(seconds(since: begun))) s")
        let before = await meter?.sample()

        let gateways = plan.gateways.count
        say("connecting \(plan.sessions) devices to \(gateways) gateway\(gateways == 1 ? "" : "s")")
        let start = NIODeadline.now()
        try await prepare(workers, .connect)
        let connectSeconds = seconds(since: start)
        say("connected in \(number(connectSeconds)) s")
        let connected = await meter?.sample()

        let measurement = try await measure(workers)
        // Idle sessions alone are weighed when they were held for a while: what connecting took is then given back.
        let weighed = plan.chat == nil ? await meter?.sample() : connected
        let outcome = try await finish(workers)
        return RunReport(
            plan: plan,
            processes: processes,
            connectSeconds: connectSeconds,
            measurement: measurement,
            outcome: outcome,
            faults: faults?.marks,
            rssPerSession: before.flatMap { weighed?.since($0).rssPerSession(plan.sessions) }
        )
    }

    private func prepare(_ workers: WorkerGroup, _ request: WorkerRequest) async throws {
        let isDone: Void? = try await interrupt.during { try await workers.prepare(request) }
        if isDone == nil { throw LoadError("interrupted") }
    }

    /// The judgement by what histories say too; without them where that is interrupted.
    private func finish(_ workers: WorkerGroup) async throws -> Outcome {
        var outcome = await workers.outcome(.judge)
        say(plan.chat == nil ? "closing" : "reading histories back")
        if let whole = try await interrupt.during({ await workers.outcome(.finish) }) { return whole }
        outcome.trouble = outcome.trouble ?? "interrupted while histories were read back"
        return outcome
    }

    private func makeWorkers() throws -> WorkerGroup {
        if processes == 1 { return WorkerGroup(workers: [LocalWorker(plan, eventLoop: group.any())]) }
        return WorkerGroup(workers: try (0..<processes).map { try ProcessWorker(plan.share($0, of: processes)) })
    }

    /// Goes through the schedule's phases, with the faults if there are any.
    private func measure(_ workers: WorkerGroup) async throws -> Measurement {
        let phases = Phases(
            workers: workers,
            schedule: schedule,
            fullRate: plan.chat?.rate ?? plan.presence?.rate,
            drain: drain,
            meter: meter,
            interrupt: interrupt
        )
        guard let faults else { return try await phases.run() }
        let measurement = try await faults.during { try await phases.run() }
        // What came back last may still bring something a second time.
        try await Task.sleep(for: Self.settling)
        return measurement
    }

    private func seconds(since start: NIODeadline) -> Double {
        Double((NIODeadline.now() - start).nanoseconds) / 1e9
    }
}
