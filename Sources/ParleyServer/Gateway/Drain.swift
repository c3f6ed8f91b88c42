import Logging
import NIOCore
import ServiceLifecycle
import UnixSignals

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Empties the gateway before it ends: no new sessions, and those that are here go to other gateways within the drain
/// window. The port stays open meanwhile, for readiness to be asked and requests to be answered.
struct Drain: Service {
    let services: GatewayServices
    let hubs: SessionHubs
    let registration: Registration

    /// Beyond the window, for answers that are on their way.
    private static let patience = Duration.seconds(10)

    /// How long it may take, sessions that do not go included.
    var limit: Duration { .nanoseconds(services.configuration.drainWindow.nanoseconds) + Self.patience }

    func run() async throws {
        try await gracefulShutdown()
        // Whoever asks again does not want to wait.
        let impatience = Task {
            for await _ in await UnixSignalsSequence(trapping: .sigterm, .sigint) {
                services.logger.warning("ended at once", metadata: ["sessions": "\(services.sessionCount)"])
                _exit(EXIT_FAILURE)
            }
        }
        defer { impatience.cancel() }
        services.logger.notice("draining", metadata: ["sessions": "\(services.sessionCount)"])
        services.beginDrain()
        for hub in hubs.all { hub.drain() }
        // Shown as draining, and offered to nobody, from now on. Redis may be slow to answer.
        async let shown: Void? = try? registration.renew()
        let end = ContinuousClock.now + limit
        while services.sessionCount > 0, ContinuousClock.now < end { try? await Task.sleep(for: .milliseconds(50)) }
        await services.groupReceipts.tell()
        await shown
        services.logger.notice("drained", metadata: ["sessions": "\(services.sessionCount)"])
    }
}
