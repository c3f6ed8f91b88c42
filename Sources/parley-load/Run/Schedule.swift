/// Which rates a run goes through, and when to stop: a decision without I/O.
struct Schedule: Sendable {
    /// Seconds before the first measurement, and of each.
    var warmup: Double
    var duration: Double
    /// Nil for one rate alone.
    var steps: Steps?

    struct Steps: Sendable {
        /// Messages a second to begin with, and to add each time.
        var first: Double
        var increment: Double
        /// The p99 that a rate may have, in milliseconds.
        var limit: Double
        private(set) var results: [StepResult] = []

        init(first: Double, increment: Double, limit: Double) {
            (self.first, self.increment, self.limit) = (first, increment, limit)
        }

        /// The highest rate that held; nil if none did.
        var highest: Double? { results.last { $0.holds }?.rate }

        /// The rate to try next; nil at the end. One that does not hold is tried once more, for a machine has bad
        /// moments that are not the rate's.
        var next: Double? {
            guard let last = results.last else { return first }
            if last.holds { return last.rate + increment }
            return results.count { $0.rate == last.rate } < 2 ? last.rate : nil
        }

        mutating func measured(
            _ results: PhaseResults,
            rate: Double,
            seconds: Double,
            isDrained: Bool
        ) -> StepResult {
            let p99 = results.latency.percentile(99)
            let step = StepResult(
                rate: rate,
                rate_achieved: rounded(Double(results.acked) / seconds),
                p50: results.latency.percentile(50),
                p99: p99,
                holds: isDrained && results.acked > 0 && p99 <= limit
            )
            self.results.append(step)
            return step
        }
    }
}

/// A rate that was tried.
struct StepResult: Codable, Sendable {
    var rate: Double
    var rate_achieved: Double
    var p50: Double
    var p99: Double
    /// Whether everything arrived, and fast enough.
    var holds: Bool
}
