import PostgresClient
import Synchronization

/// The partitions as this process saw them last. A hint: whoever goes by an old one reads the same messages, from more
/// partitions than needed.
final class PartitionMap: Sendable {
    private struct State {
        var edges = PartitionEdges()
        var goodUntil: ContinuousClock.Instant?
    }

    private let postgres: PostgresPool
    private let lifetime: Duration
    private let state = Mutex(State())

    init(postgres: PostgresPool, lifetime: Duration = .seconds(60)) {
        self.postgres = postgres
        self.lifetime = lifetime
    }

    func edges() async throws -> PartitionEdges {
        let known = state.withLock { state in state.goodUntil.map { $0 > .now ? state.edges : nil } ?? nil }
        if let known { return known }
        let edges = PartitionEdges(try Partition.all(await postgres.query(Partition.listing)).map(\.range))
        state.withLock { $0 = State(edges: edges, goodUntil: .now + lifetime) }
        return edges
    }
}
