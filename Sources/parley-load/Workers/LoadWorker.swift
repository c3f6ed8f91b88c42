/// Who puts a share of a run on the gateways: this process or one of its children. A run goes through the requests
/// in their order; `progress` may come at any time between.
protocol LoadWorker: Sendable {
    func perform(_ request: WorkerRequest) async throws -> WorkerAnswer
}

enum WorkerRequest: Codable, Sendable {
    /// Have the users.
    case signUp
    case connect
    case begin(Phase)
    case progress
    /// Offer no more load, whatever the phase says.
    case stop
    /// Of the phase that is over.
    case results
    /// Judge what has come so far.
    case judge
    /// Read back, judge, leave.
    case finish
}

enum WorkerAnswer: Codable, Sendable {
    case done
    case progress(Progress)
    case results(PhaseResults)
    case outcome(Outcome)
    case failed(String)
}

/// All of them at once, their answers added up. Once the load has begun, a worker that fails is left out from then on,
/// and the others' results are had without it.
actor WorkerGroup {
    private var workers: [any LoadWorker]
    /// Why a share of the run is missing.
    private var trouble: String?

    init(workers: [any LoadWorker]) {
        self.workers = workers
    }

    /// - Throws: where not all are ready for load.
    func prepare(_ request: WorkerRequest) async throws {
        _ = await answers(to: request)
        if let trouble { throw LoadError(trouble) }
    }

    func perform(_ request: WorkerRequest) async {
        _ = await answers(to: request)
    }

    func progress() async -> Progress {
        var progress = await answers(to: .progress).reduce(into: Progress()) {
            if case .progress(let part) = $1 { $0 += part }
        }
        progress.trouble = progress.trouble ?? trouble
        return progress
    }

    func results() async -> PhaseResults {
        await answers(to: .results).reduce(into: PhaseResults()) { if case .results(let part) = $1 { $0 += part } }
    }

    /// - Parameter request: one that is answered with an outcome.
    func outcome(_ request: WorkerRequest) async -> Outcome {
        var outcome = await answers(to: request).reduce(into: Outcome()) {
            if case .outcome(let part) = $1 { $0 += part }
        }
        outcome.trouble = outcome.trouble ?? trouble
        return outcome
    }

    private func answers(to request: WorkerRequest) async -> [WorkerAnswer] {
        let asked = workers
        let replies = await withTaskGroup(of: (Int, WorkerAnswer).self) { tasks in
            for (index, worker) in asked.enumerated() {
                tasks.addTask { (index, await Self.ask(worker, request)) }
            }
            var replies: [(Int, WorkerAnswer)] = []
            for await reply in tasks { replies.append(reply) }
            return replies.sorted { $0.0 < $1.0 }
        }
        var answers: [WorkerAnswer] = []
        workers = []
        for (index, answer) in replies {
            if case .failed(let reason) = answer {
                trouble = trouble ?? reason
            } else {
                answers.append(answer)
                workers.append(asked[index])
            }
        }
        return answers
    }

    private static func ask(_ worker: any LoadWorker, _ request: WorkerRequest) async -> WorkerAnswer {
        do { return try await worker.perform(request) } catch { return .failed("\(error)") }
    }
}
