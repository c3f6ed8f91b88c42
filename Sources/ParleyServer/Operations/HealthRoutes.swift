import Hummingbird
import ParleyWire

/// `/healthz`: the process runs and answers. `/readyz`: it can serve, or says what is missing.
struct HealthRoutes: Sendable {
    /// What is missing, by name; empty when ready.
    let missing: @Sendable () async -> [String]

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        router.get("/healthz") { _, _ in "ok\n" }
        router.get("/readyz") { _, _ in
            let missing = await missing()
            guard missing.isEmpty else {
                throw HTTPProblem(.unavailable, "Not ready: \(missing.joined(separator: ", ")).")
            }
            return "ready\n"
        }
    }
}
