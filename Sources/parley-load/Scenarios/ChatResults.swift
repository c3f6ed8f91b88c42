import Histogram

/// What chat measured, of the messages due after the warm-up.
struct ChatResults: Sendable {
    var sent = 0
    var acked = 0
    /// Copies that reached a device, the sender's own among them.
    var delivered = 0
    /// Answers with an error, by code, those during the warm-up included.
    var errors: [String: Int] = [:]
    /// Of the partners' deliveries.
    var latency = Latencies()
    var ack = Latencies()

    mutating func acknowledged(after nanoseconds: Int64) {
        acked += 1
        ack.record(nanoseconds)
    }

    mutating func delivered(after nanoseconds: Int64, toPartner: Bool) {
        delivered += 1
        if toPartner { latency.record(nanoseconds) }
    }

    static func += (left: inout ChatResults, right: ChatResults) {
        left.sent += right.sent
        left.acked += right.acked
        left.delivered += right.delivered
        left.errors.merge(right.errors, uniquingKeysWith: +)
        left.latency.histogram.add(right.latency.histogram)
        left.ack.histogram.add(right.ack.histogram)
    }
}

/// Durations up to ten minutes, to three digits.
struct Latencies: Sendable {
    /// In microseconds.
    var histogram = Histogram<UInt64>(highestTrackableValue: 600_000_000, numberOfSignificantValueDigits: .three)

    var count: Int { Int(histogram.totalCount) }

    mutating func record(_ nanoseconds: Int64) {
        _ = histogram.record(UInt64(max(0, min(nanoseconds / 1000, 600_000_000))))
    }

    /// In milliseconds; 0 where nothing was recorded.
    func percentile(_ percentile: Double) -> Double {
        histogram.totalCount == 0 ? 0 : Double(histogram.valueAtPercentile(percentile)) / 1000
    }

    var summary: Percentiles {
        Percentiles(
            p50: percentile(50),
            p90: percentile(90),
            p99: percentile(99),
            p999: percentile(99.9),
            max: percentile(100)
        )
    }
}

/// In milliseconds.
struct Percentiles: Encodable, Sendable {
    var p50: Double
    var p90: Double
    var p99: Double
    var p999: Double
    var max: Double
}
