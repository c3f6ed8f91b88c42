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

    func run() async throws -> RunReport {
        let workers = try makeWorkers()
        say(plan.seedDatabase == nil ? "signing up \(plan.users) users" : "seeding \(plan.users) users")
        let begun = NIODeadline.now()
        try await workers.perform(.signUp)
        say("have them in \(number(seconds(since: begun))) s")
        let before = await meter?.sample()

        let gateways = plan.gateways.count
        say("connecting \(plan.sessions) devices to \(gateways) gateway\(gateways == 1 ? "" : "s")")
        let start = NIODeadline.now()
        try await workers.perform(.connect)
        let connectSeconds = seconds(since: start)
        say("connected in \(number(connectSeconds)) s")
        let connected = await meter?.sample()

        let measurement = try await measure(workers)
        // Idle sessions alone are weighed when they were held for a while: what connecting took is then given back.
        let weighed = plan.chat == nil ? await meter?.sample() : connected
        say(plan.chat == nil ? "closing" : "reading histories back")
        return RunReport(
            plan: plan,
            duration: schedule.duration,
            processes: processes,
            connectSeconds: connectSeconds,
            measurement: measurement,
            outcome: try await workers.finish(),
            faults: faults?.marks,
            rssPerSession: before.flatMap { weighed?.since($0).rssPerSession(plan.sessions) }
        )
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
        return try await faults.during { try await phases.run() }
    }

    private func seconds(since start: NIODeadline) -> Double {
        Double((NIODeadline.now() - start).nanoseconds) / 1e9
    }
}
