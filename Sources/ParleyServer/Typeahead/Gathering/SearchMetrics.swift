import RedisClient

extension SearchIntake: MetricsSource {
    func collect() -> MetricSamples {
        var samples = MetricSamples()
        samples.add(.searchesTaken, value: count)
        return samples
    }
}

/// What a worker has counted, and what waits for any of them.
struct SearchMetrics: MetricsSource {
    let redis: RedisClient
    let progress: SearchProgress

    func collect() async -> MetricSamples {
        var samples = MetricSamples()
        samples.add(.searchesCounted, value: progress.reading.entries)
        var waiting: Int64 = 0
        for shard in SearchShard.all {
            guard let length = try? await redis.send("XLEN", shard.key, repeatable: true).integer else {
                return samples
            }
            waiting += length
        }
        samples.add(.searchesWaiting, value: Int(waiting))
        return samples
    }
}
