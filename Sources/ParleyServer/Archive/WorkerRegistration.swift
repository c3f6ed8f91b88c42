import ParleyCore
import PostgresClient
import RedisClient
import ServiceLifecycle

/// Says each second, for those who look inside Redis, that this worker is there and how it does.
struct WorkerRegistration: Service {
    let name: String
    /// With commas between.
    let roles: String
    let status: WorkerStatus
    let redis: RedisClient
    let postgres: PostgresPool
    /// Where the registry of gateways is, unless it is on the same Redis.
    let registry: String?
    /// Where suggestions are, of a worker for them.
    var suggest: RedisClient?

    func run() async throws {
        await cancelWhenGracefulShutdown {
            await withTaskGroup { group in
                group.addTask { await again(.seconds(1)) { await say(entry.text) } }
                // PostgreSQL may keep one waiting; what the worker says must not.
                group.addTask { await again(.seconds(5)) { status.counted(try? await Leftovers(in: postgres)) } }
                if let suggest {
                    group.addTask {
                        await again(.seconds(5)) {
                            status.counted(try? await SuggestionStanding(in: postgres, redis: suggest))
                        }
                    }
                }
            }
        }
        await Task { await say("") }.value
    }

    private func again(_ pause: Duration, _ body: () async -> Void) async {
        while !Task.isCancelled {
            await body()
            try? await Task.sleep(for: pause)
        }
    }

    private var entry: WorkerEntry {
        let reading = status.reading
        return WorkerEntry(
            roles: roles,
            lanes: reading.lanes.map(\.number),
            archivedAgo: reading.archivedAt.map { Int64($0.duration(to: .now) / .milliseconds(1)) },
            registry: registry,
            leftovers: reading.leftovers,
            suggestions: reading.suggestions,
            problem: reading.problem
        )
    }

    /// Nobody depends on it: where Redis does not answer, the next second's will do.
    private func say(_ text: String) async {
        _ = try? await redis.send(RedisFunctions.call("worker_here", keys: [Keys.workers], [name, text]))
    }
}
