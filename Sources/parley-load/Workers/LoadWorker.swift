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

/// All of them at once, their answers added up.
struct WorkerGroup: Sendable {
    let workers: [any LoadWorker]

    func perform(_ request: WorkerRequest) async throws {
        _ = try await answers(to: request)
    }

    func progress() async throws -> Progress {
        try await answers(to: .progress).reduce(into: Progress()) { if case .progress(let part) = $1 { $0 += part } }
    }

    func results() async throws -> PhaseResults {
        try await answers(to: .results).reduce(into: PhaseResults()) { if case .results(let part) = $1 { $0 += part } }
    }

    func finish() async throws -> Outcome {
        try await answers(to: .finish).reduce(into: Outcome()) { if case .outcome(let part) = $1 { $0 += part } }
    }

    private func answers(to request: WorkerRequest) async throws -> [WorkerAnswer] {
        try await withThrowingTaskGroup(of: WorkerAnswer.self) { tasks in
            for worker in workers { tasks.addTask { try await worker.perform(request) } }
            var answers: [WorkerAnswer] = []
            for try await answer in tasks {
                if case .failed(let reason) = answer { throw LoadError(reason) }
                answers.append(answer)
            }
            return answers
        }
    }
}
