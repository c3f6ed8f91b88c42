import Synchronization

/// How a worker's reading of searches goes, for metrics and for people.
final class SearchProgress: Sendable {
    struct Reading: Sendable {
        var shards: [Int] = []
        var entries = 0
        /// Why rounds fail at present.
        var problem: String?
    }

    private let state = Mutex(Reading())

    var reading: Reading { state.withLock { $0 } }

    func counted(_ entries: Int) { state.withLock { $0.entries += entries } }

    func succeeded(_ shards: some Collection<SearchShard>) {
        state.withLock {
            $0.shards = shards.map(\.number).sorted()
            $0.problem = nil
        }
    }

    func failed(_ error: any Error) {
        state.withLock {
            $0.shards = []
            $0.problem = "\(error)"
        }
    }
}
