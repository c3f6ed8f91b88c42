/// What metrics stand at. What several parts of a process say of the same series adds up.
struct MetricSamples: Sendable {
    enum Value: Sendable {
        case number(Double)
        case times(Histogram)
    }

    /// By the values of the metric's labels.
    private(set) var series: [Metric: [[String]: Value]] = [:]

    mutating func add(_ metric: Metric, _ labels: String..., value: Double) {
        add(.number(value), to: metric, labels)
    }

    mutating func add(_ metric: Metric, _ labels: String..., value: Int) {
        add(.number(Double(value)), to: metric, labels)
    }

    mutating func add(_ metric: Metric, _ labels: String..., times: Histogram) {
        add(.times(times), to: metric, labels)
    }

    mutating func add(_ other: MetricSamples) {
        for (metric, series) in other.series {
            for (labels, value) in series { add(value, to: metric, labels) }
        }
    }

    private mutating func add(_ value: Value, to metric: Metric, _ labels: [String]) {
        precondition(labels.count == metric.labels.count, "\(metric.name) has labels \(metric.labels), not \(labels)")
        switch (series[metric]?[labels], value) {
        case (nil, _): series[metric, default: [:]][labels] = value
        case (.number(let sum), .number(let more)): series[metric]?[labels] = .number(sum + more)
        case (.times(var sum), .times(let more)):
            sum.add(more)
            series[metric]?[labels] = .times(sum)
        case (.number, .times), (.times, .number): preconditionFailure("\(metric.name) is a number or a histogram")
        }
    }
}

/// A part of a process that counts something.
protocol MetricsSource: Sendable {
    /// What it stands at; without what cannot be told now.
    func collect() async -> MetricSamples
}
