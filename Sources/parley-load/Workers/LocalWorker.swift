import NIOCore
import ParleyClient
import ParleyWire

/// A share of a run in this process, on one event loop.
actor LocalWorker: LoadWorker {
    private let plan: LoadPlan
    private let eventLoop: any EventLoop
    private var seats: [Seat] = []
    private var load: OnLoop<Load>?

    init(_ plan: LoadPlan, eventLoop: any EventLoop) {
        self.plan = plan
        self.eventLoop = eventLoop
    }

    func perform(_ request: WorkerRequest) async throws -> WorkerAnswer {
        switch request {
        case .signUp:
            try allowDescriptors(for: plan.sessions)
            try await signUp()
            return .done
        case .connect:
            try await running().wait { load in
                .andAllSucceed(load.scenarios.map { $0.fleet.connectAll() }, on: load.eventLoop)
            }
            return .done
        case .begin(let phase):
            try await running().run { $0.begin(phase) }
            return .done
        case .progress:
            return .progress(
                try await running().run { $0.scenarios.reduce(into: Progress()) { $0 += $1.takeProgress() } }
            )
        case .stop:
            try await running().run { $0.stop() }
            return .done
        case .results:
            return .results(try await running().run { $0.takeResults() })
        case .judge:
            return .outcome(try await running().run { $0.outcome() })
        case .finish:
            return .outcome(try await finish(running()))
        }
    }

    private func running() throws -> OnLoop<Load> {
        guard let load else { preconditionFailure("users come first") }
        return load
    }

    private func signUp() async throws {
        let roster = Roster(
            gateways: try plan.gateways.map { try Target(url: $0) },
            group: eventLoop,
            share: plan.share,
            shares: plan.shares,
            seeder: plan.seedDatabase.map { Seeder(database: $0) }
        )
        let accounts = try await roster.accounts(plan.users)
        let chatting = Array(accounts.prefix(plan.chat?.users ?? 0))
        var conversations: [ConversationID] = []
        if let chat = plan.chat { conversations = try await roster.conversations(chat, chatting) }
        let watching = Array(accounts.dropFirst(chatting.count).prefix(plan.presence?.users ?? 0))
        if let presence = plan.presence { try await roster.befriend(watching, presence) }
        let (plan, ids) = (plan, conversations)
        load = try await OnLoop(eventLoop) { eventLoop in
            var scenarios: [any Scenario] = []
            if let chat = plan.chat {
                let seats = roster.seats(
                    chatting,
                    members: chat.members,
                    devices: chat.devices,
                    together: chat.isTogether,
                    listens: plan.receive
                )
                scenarios.append(
                    try ChatScenario(
                        chat,
                        seats: seats,
                        map: LedgerMap(ids, seats, ledgers: plan.chattingShares),
                        journal: plan.journal.map { "\($0)/chat-\(plan.share).journal" },
                        eventLoop: eventLoop
                    )
                )
            }
            if let presence = plan.presence {
                scenarios.append(
                    PresenceScenario(presence, seats: roster.seats(watching), eventLoop: eventLoop)
                )
            }
            if plan.idle > 0 {
                var seats = roster.seats(Array(accounts.dropFirst(chatting.count + watching.count)))
                for index in seats.indices { seats[index].listens = plan.receive }
                scenarios.append(IdleScenario(seats: seats, eventLoop: eventLoop))
            }
            return Load(scenarios: scenarios, eventLoop: eventLoop)
        }
    }

    private func finish(_ load: OnLoop<Load>) async throws -> Outcome {
        var trouble: String?
        do {
            try await readBack(load)
        } catch {
            trouble = "histories could not be read back: \(error)"
        }
        var outcome = try await load.run { $0.finish() }
        outcome.trouble = outcome.trouble ?? trouble
        // What ends with a close frame ends at once: let them leave.
        try await Task.sleep(for: .milliseconds(500))
        return outcome
    }

    private func readBack(_ load: OnLoop<Load>) async throws {
        let eventLoop = eventLoop
        let count = try await load.run { $0.scenarios.count }
        for index in 0..<count {
            let readings = try await load.run { $0.scenarios[index].readings() }
            try await HistoryCheck(group: eventLoop).run(readings) { history, conversation in
                try await load.run { $0.scenarios[index].record(history, of: conversation) }
            }
        }
    }
}

/// A share's scenarios and what they use, on their loop.
private final class Load {
    let scenarios: [any Scenario]
    let eventLoop: any EventLoop
    /// At the begin of what is measured; nil where nothing is.
    private var before: GeneratorUsage?
    private var usage = GeneratorUsage()
    private var timers: [Scheduled<Void>] = []

    init(scenarios: [any Scenario], eventLoop: any EventLoop) {
        (self.scenarios, self.eventLoop) = (scenarios, eventLoop)
    }

    func begin(_ phase: Phase) {
        usage = GeneratorUsage()
        let loop = eventLoop.assumeIsolated()
        timers = [
            loop.scheduleTask(deadline: .uptimeNanoseconds(UInt64(phase.measureFrom))) {
                self.before = self.usageNow()
            },
            loop.scheduleTask(deadline: .uptimeNanoseconds(UInt64(phase.end))) { self.weigh() },
        ]
        scenarios.forEach { $0.begin(phase) }
    }

    func stop() {
        scenarios.forEach { $0.stop() }
        timers.forEach { $0.cancel() }
        weigh()
    }

    private func weigh() {
        guard let before else { return }
        usage = usageNow().since(before)
        self.before = nil
    }

    func takeResults() -> PhaseResults {
        var results = PhaseResults(usage: usage)
        for scenario in scenarios { results += scenario.takeResults() }
        return results
    }

    func outcome() -> Outcome {
        scenarios.reduce(into: Outcome()) { $0 += $1.outcome() }
    }

    func finish() -> Outcome {
        scenarios.forEach { $0.finish() }
        defer { scenarios.forEach { $0.fleet.closeAll() } }
        return outcome()
    }

    private func usageNow() -> GeneratorUsage {
        GeneratorUsage(
            microseconds: ProcessTable.ownMicroseconds(),
            bytesToClients: scenarios.reduce(0) { $0 + $1.fleet.bytesReceived },
            bytesFromClients: scenarios.reduce(0) { $0 + $1.fleet.bytesSent },
            requests: scenarios.reduce(0) { $0 + $1.fleet.requests }
        )
    }
}
