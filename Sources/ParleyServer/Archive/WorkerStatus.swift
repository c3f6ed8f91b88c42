import ParleyCore
import Synchronization

/// How a worker does, as it tells those who look inside.
final class WorkerStatus: Sendable {
    struct Reading: Sendable {
        var lanes: [Lane] = []
        /// The end of the last round of archiving that succeeded.
        var archivedAt: ContinuousClock.Instant?
        /// Why rounds fail at present.
        var problem: String?
        /// nil where PostgreSQL did not say.
        var leftovers: Leftovers?
        /// nil where a store did not say, or another worker is asked.
        var suggestions: SuggestionStanding?
    }

    private let state = Mutex(Reading())

    var reading: Reading { state.withLock { $0 } }

    func archived(_ lanes: some Collection<Lane>) {
        state.withLock {
            $0.lanes = Array(lanes)
            $0.archivedAt = .now
            $0.problem = nil
        }
    }

    func failed(_ error: any Error) {
        state.withLock {
            $0.lanes = []
            $0.problem = "\(error)"
        }
    }

    func counted(_ suggestions: SuggestionStanding?) { state.withLock { $0.suggestions = suggestions } }

    func counted(_ leftovers: Leftovers?) { state.withLock { $0.leftovers = leftovers } }
}
