import Logging
import NIOCore
import ParleyCore
import PostgresClient
import RedisClient
import ServiceLifecycle

/// Looks several times a second at how much waits, and has the gateway give up what matters least.
struct Overload: Service {
    let services: GatewayServices
    let postgres: PostgresPool
    let hasher: PasswordHasher
    let lag: EventLoopLag

    private static let pause = Duration.milliseconds(250)

    func run() async throws {
        guard services.admission.configuration.isOn else { return try await gracefulShutdown() }
        await cancelWhenGracefulShutdown {
            var shedder = LoadShedder()
            while !Task.isCancelled {
                let pressure = await pressure()
                let before = shedder.shed
                let now = Admission.now() / 1000
                if shedder.observe(pressure, at: now) != before {
                    services.admission.shed(shedder.shed)
                    services.logger.warning(
                        "load shedding",
                        metadata: ["given up": "\(shedder.shed.map(\.rawValue).sorted())", "pressure": "\(pressure)"]
                    )
                }
                try? await Task.sleep(for: Self.pause)
            }
        }
    }

    private func pressure() async -> LoadShedder.Pressure {
        var pressure = LoadShedder.Pressure()
        pressure.loopLag = lag.recent.nanoseconds / 1_000_000
        for connection in services.redis.connections {
            let delay = try? await connection.eventLoop.submit { connection.delay }.get()
            pressure.commitDelay = max(pressure.commitDelay, (delay ?? .zero).nanoseconds / 1_000_000)
        }
        pressure.backlog = services.backlogShare
        pressure.waitingQueries = Double(postgres.waiting) / Double(max(1, postgres.connections))
        pressure.waitingHashes = hasher.load
        return pressure
    }
}
