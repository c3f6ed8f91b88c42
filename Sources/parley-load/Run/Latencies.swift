import Histogram

/// Durations up to ten minutes, to three digits.
struct Latencies: Sendable {
    /// In microseconds.
    private var histogram = Histogram<UInt64>(highestTrackableValue: limit, numberOfSignificantValueDigits: .three)

    private static let limit: UInt64 = 600_000_000

    var count: Int { Int(histogram.totalCount) }

    mutating func record(_ nanoseconds: Int64) {
        _ = histogram.record(min(UInt64(max(0, nanoseconds)) / 1000, Self.limit))
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

    /// Percentiles and their milliseconds, denser towards 100 as HdrHistogram's plots are: five points for each
    /// halving of the distance.
    var curve: [[Double]] {
        guard histogram.totalCount > 0 else { return [] }
        return histogram.percentiles(ticksPerHalfDistance: 5).map {
            [($0.percentile * 1000).rounded() / 1000, Double($0.value) / 1000]
        }
    }

    static func += (left: inout Latencies, right: Latencies) {
        left.histogram.add(right.histogram)
    }
}

/// As pairs of a value and its count: far shorter than all counts.
extension Latencies: Codable {
    init(from decoder: any Decoder) throws {
        self.init()
        var pairs = try decoder.unkeyedContainer()
        while !pairs.isAtEnd {
            let value = try pairs.decode(UInt64.self)
            _ = histogram.record(min(value, Self.limit), count: try pairs.decode(UInt64.self))
        }
    }

    func encode(to encoder: any Encoder) throws {
        var pairs = encoder.unkeyedContainer()
        for recorded in histogram.recordedValues() {
            // A value stands for its bucket; the highest is known exactly.
            try pairs.encode(min(recorded.value, histogram.maxRecorded))
            try pairs.encode(recorded.count)
        }
    }
}

/// In milliseconds.
struct Percentiles: Codable, Sendable {
    var p50: Double
    var p90: Double
    var p99: Double
    var p999: Double
    var max: Double
}
