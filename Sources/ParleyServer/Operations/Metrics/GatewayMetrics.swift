import NIOCore

/// What the sessions of one event loop count, and what stands there now.
extension SessionHub: MetricsSource {
    func collect() async -> MetricSamples {
        (try? await eventLoop.submit {
            var samples = self.metrics.samples
            samples.add(.pollsWaiting, value: self.waitingPolls)
            let subscriptions = self.subscriptions
            samples.add(.redisReconnects, "subscriptions", value: subscriptions.losses)
            samples.add(.redisSubscribersUnhealthy, value: subscriptions.unhealthy)
            samples.add(.watches, value: self.presence.watches.count)
            return samples
        }.get()) ?? MetricSamples()
    }
}

/// What a gateway says of itself as a whole.
struct GatewayMetrics: MetricsSource {
    let services: GatewayServices

    func collect() -> MetricSamples {
        var samples = MetricSamples()
        samples.add(.sessionsLimit, value: services.configuration.capacity)
        samples.add(.draining, value: services.isDraining ? 1 : 0)
        return samples
    }
}

/// The changes of presence that a process has published.
extension PresencePublisher: MetricsSource {
    func collect() -> MetricSamples {
        var samples = MetricSamples()
        samples.add(.presencePublished, value: published)
        return samples
    }
}
