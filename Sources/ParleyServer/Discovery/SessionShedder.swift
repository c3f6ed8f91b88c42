import Logging
import NIOCore
import ParleyCore
import ServiceLifecycle

/// Sends sessions to other gateways, a few a second: from one that has far more than its share, and from one that is cut
/// off from Redis.
struct SessionShedder: Service {
    let services: GatewayServices
    let hubs: SessionHubs

    private static let pause = Duration.seconds(1)
    /// A session that was told and is still here counts as gone for so long, and is not told again before.
    private static let patience = TimeAmount.minutes(1)
    private static let again = TimeAmount.minutes(10)

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var rebalancing = Rebalancing(services.configuration.rebalancing)
            // A gateway that stood still itself hears from Redis within a round or two.
            var roundsCutOff = 0
            while !Task.isCancelled {
                roundsCutOff = services.isCutOff ? roundsCutOff + 1 : 0
                if roundsCutOff > 2 { await leaveRedis() }
                if roundsCutOff == 0 { await rebalance(&rebalancing) }
                try? await Task.sleep(for: Self.pause)
            }
        }
    }

    private func rebalance(_ rebalancing: inout Rebalancing) async {
        // An old picture is no ground to send anybody anywhere.
        guard services.registry.isCurrent, !services.isDraining else { return }
        let others = services.otherGateways
        let leaving = await hubs.toldToGo(since: .now() - Self.patience)
        let capacity = services.configuration.capacity
        let count = rebalancing.toShed(
            own: .init(sessions: services.sessionCount, capacity: capacity),
            leaving: leaving,
            others: others.map { .init(sessions: $0.sessions, capacity: $0.capacity) }
        )
        guard count > 0 else { return }
        let taken = others.reduce(services.sessionCount) { $0 + $1.sessions }
        let mean = Double(taken) / Double(others.reduce(capacity) { $0 + $1.capacity })
        let below = others.filter { $0.load < mean }
        let told = await hubs.tellToGo(count, .rebalance, unlessSince: .now() - Self.again) { [services] in
            services.choice(of: below)
        }
        services.logger.debug("rebalancing", metadata: ["told": "\(told)", "sessions": "\(services.sessionCount)"])
    }

    private func leaveRedis() async {
        let isolation = services.isolation
        let heard = NIODeadline.uptimeNanoseconds(UInt64(isolation.heard) * 1_000_000)
        let untold = services.sessionCount - (await hubs.toldToGo(since: heard))
        let count = isolation.toTell(of: untold, at: GatewayServices.steadyMilliseconds())
        let told = await hubs.tellToGo(count, .unavailable, unlessSince: heard) { [services] in services.alternative }
        services.logger.warning("cut off from Redis", metadata: ["told_to_go": "\(told)"])
    }
}
