import Hummingbird
import NIOCore
import ParleyWire

/// `/healthz`: the process runs. `/readyz`: it can serve, or says what is missing.
struct HealthRoutes: Sendable {
    /// Of all event loops. They alone tell whether the process is to be restarted: that a store is away, a restart does not
    /// mend.
    let lag: EventLoopLag
    /// What is missing, by name; empty when ready.
    let missing: @Sendable () async -> [String]

    /// How long a loop may stand still.
    static let patience = TimeAmount.seconds(10)

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        router.get("/healthz") { _, _ in
            let silence = lag.silence
            guard silence < Self.patience else {
                let seconds = silence.nanoseconds / 1_000_000_000
                throw HTTPProblem(.unavailable, "An event loop has stood still for \(seconds) seconds.")
            }
            return "ok\n"
        }
        router.get("/readyz") { _, _ in
            let missing = await missing()
            guard missing.isEmpty else {
                throw HTTPProblem(.unavailable, "Not ready: \(missing.joined(separator: ", ")).")
            }
            return "ready\n"
        }
    }
}
