import Logging

/// Forgets searches that are too old. Several workers may do so at once.
struct CountKeeper: Sweeper {
    let counts: QueryCounts
    let retentionDays: Int
    let logger: Logger

    static let pause = Duration.seconds(3600)

    func sweep() async throws { try await counts.forget(olderThan: retentionDays) }
}
