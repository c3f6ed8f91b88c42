import Logging
import ParleyCore
import RedisClient
import ServiceLifecycle

/// Refuses sends while too much waits for the archive: with PostgreSQL or the workers away, Redis must not fill up.
struct BacklogGuard: Service {
    let services: GatewayServices

    private static let pause = Duration.seconds(2)

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                // Where Redis does not answer, sends fail by themselves.
                if let backlog = try? await backlog() {
                    let isOver = backlog > services.configuration.backlogLimit
                    if isOver != services.isBacklogged {
                        services.logger.warning(
                            "commit log backlog",
                            metadata: ["entries": "\(backlog)", "sends": isOver ? "refused" : "taken again"]
                        )
                    }
                    services.setBacklog(backlog)
                }
                _ = try? await services.epochs.refreshArchived()
                try? await Task.sleep(for: Self.pause)
            }
        }
    }

    /// Entries of all lanes; what is archived leaves them within a few seconds.
    private func backlog() async throws -> Int {
        try await withThrowingTaskGroup(of: Int64.self) { group in
            for lane in Lane.all {
                group.addTask { try await services.redis.send("XLEN", Keys.lane(lane)).integer ?? 0 }
            }
            return try await group.reduce(0) { $0 + Int($1) }
        }
    }
}
