import Synchronization

/// What one event loop counts of suggestions.
final class SuggestMetrics: Sendable {
    enum Source: Int, CaseIterable, Sendable {
        /// Answers from the cache, from Redis, from PostgreSQL; without a look-up, because nothing has changed; none,
        /// because neither store answered; those that waited for one that was being looked up.
        case cache, redis, postgres, unchanged, unavailable, joined
        /// Shards that Redis lacked.
        case refill

        var label: String {
            switch self {
            case .unchanged: "not_modified"
            default: "\(self)"
            }
        }
    }

    private let counts = Mutex([Int](repeating: 0, count: Source.allCases.count))

    func count(_ source: Source) { counts.withLock { $0[source.rawValue] += 1 } }

    func count(of source: Source) -> Int { counts.withLock { $0[source.rawValue] } }
}
