import Logging
import ServiceLifecycle
import Synchronization

/// Builds lists by the schedule and when somebody asks, one process at a time.
struct BuildKeeper: Service {
    let builder: SuggestBuilder
    let desk: BuilderDesk
    let worker: String
    let count: BuildCount
    let logger: Logger

    private static let pause = Duration.seconds(2)

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    if let turn = try await desk.take(worker) {
                        _ = try await perform(turn)
                    } else {
                        count.stands(try await desk.standing())
                    }
                } catch {
                    if !Task.isCancelled { logger.warning("lists are not built", metadata: ["error": "\(error)"]) }
                }
                try? await Task.sleep(for: Self.pause)
            }
        }
    }

    /// Builds while the turn is this one's: who takes it over after a standstill builds anew, and what this one has made by
    /// then is not put in force.
    /// - Parameter show: is told what is done now.
    func perform(
        _ turn: BuilderDesk.Turn,
        isForced: Bool = false,
        rebalances: Bool = false,
        show: @escaping SuggestBuilder.Progress = { _ in }
    ) async throws -> [SuggestBuilder.Outcome] {
        let text = ProgressText()
        let work = Task {
            try await builder.build(isForced: isForced, rebalances: rebalances) {
                text.set($0)
                show($0)
            }
        }
        let renewal = Task {
            while !Task.isCancelled {
                try? await Task.sleep(for: .seconds(1))
                if let isMine = try? await desk.renew(turn, text.value), !isMine { return work.cancel() }
            }
        }
        let result = await withTaskCancellationHandler {
            await work.result
        } onCancel: {
            work.cancel()
        }
        renewal.cancel()
        _ = await renewal.value
        let outcomes: [SuggestBuilder.Outcome]
        switch result {
        case .success(let made):
            outcomes = made.isEmpty ? [.init(isGood: true, text: "there is nothing to build")] : made
        case .failure(let error): outcomes = [.init(isGood: false, text: "the build failed: \(error)")]
        }
        let told = outcomes.map(\.text).joined(separator: "\n")
        let isGood = outcomes.allSatisfy(\.isGood)
        count.ended(isGood: isGood)
        logger.notice("lists were built", metadata: ["outcome": "\(told)"])
        // Also where this process ends: the next one need not wait for the lease.
        try await Task { try await desk.end(turn, outcome: told, isGood: isGood, period: builder.configuration.period) }
            .value
        return outcomes
    }
}

/// What a build does now, for who asks.
private final class ProgressText: Sendable {
    private let text = Mutex("begins")

    var value: String { text.withLock { $0 } }
    func set(_ new: String) { text.withLock { $0 = new } }
}

/// How building goes, for metrics and for people.
final class BuildCount: Sendable {
    struct Reading: Sendable {
        var good = 0
        var failed = 0
        /// Of all builders, as PostgreSQL has it.
        var standing: BuilderDesk.Standing?
    }

    private let state = Mutex(Reading())

    var reading: Reading { state.withLock { $0 } }

    func ended(isGood: Bool) { state.withLock { if isGood { $0.good += 1 } else { $0.failed += 1 } } }
    func stands(_ standing: BuilderDesk.Standing) { state.withLock { $0.standing = standing } }
}

extension BuildCount: MetricsSource {
    func collect() -> MetricSamples {
        let reading = reading
        var samples = MetricSamples()
        samples.add(.builds, "good", value: reading.good)
        samples.add(.builds, "failed", value: reading.failed)
        samples.add(.buildAge, value: Double(reading.standing?.outcomeAgo ?? 0) / 1000)
        return samples
    }
}
