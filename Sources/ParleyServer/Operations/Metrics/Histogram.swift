/// How often something took how long, in buckets that follow the series 1, 2, 5 from 50 µs to 10 s, and one beyond.
struct Histogram: Sendable, Equatable {
    /// Upper bounds, inclusive, in nanoseconds.
    static let bounds: [Int] = [
        50_000, 100_000, 200_000, 500_000,
        1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 50_000_000, 100_000_000, 200_000_000, 500_000_000,
        1_000_000_000, 2_000_000_000, 5_000_000_000, 10_000_000_000,
    ]

    /// Of each bucket by itself, the last one without a bound.
    private(set) var counts = [Int](repeating: 0, count: bounds.count + 1)
    /// In nanoseconds.
    private(set) var sum = 0

    var count: Int { counts.reduce(0, +) }

    /// Takes as nothing what a clock that was set back makes negative.
    mutating func record(nanoseconds: Int) {
        let time = max(0, nanoseconds)
        var index = 0
        // Most are short, so the scan is.
        while index < Self.bounds.count, time > Self.bounds[index] { index += 1 }
        counts[index] += 1
        sum += time
    }

    mutating func add(_ other: Histogram) {
        for index in counts.indices { counts[index] += other.counts[index] }
        sum += other.sum
    }
}
