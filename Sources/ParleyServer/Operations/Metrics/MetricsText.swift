/// Samples in Prometheus's text format, version 0.0.4.
struct MetricsText {
    static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    private(set) var text = ""

    /// In the order of the catalogue; of a metric sorted by labels.
    init(_ samples: MetricSamples) {
        for metric in Metric.all {
            guard let series = samples.series[metric] else { continue }
            text += "# HELP \(metric.name) \(Self.escaped(metric.help, quotes: false))\n"
            text += "# TYPE \(metric.name) \(metric.kind.rawValue)\n"
            for (labels, value) in series.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
                let labels = zip(metric.labels, labels).map { "\($0)=\"\(Self.escaped($1, quotes: true))\"" }
                switch value {
                case .number(let number): line(metric.name, labels, Self.number(number))
                case .times(let times): write(times, metric.name, labels)
                }
            }
        }
    }

    private mutating func write(_ times: Histogram, _ name: String, _ labels: [String]) {
        var count = 0
        for (index, more) in times.counts.enumerated() {
            count += more
            let bound = index < Histogram.bounds.count ? Self.seconds(Histogram.bounds[index]) : "+Inf"
            line("\(name)_bucket", labels + ["le=\"\(bound)\""], "\(count)")
        }
        line("\(name)_sum", labels, Self.seconds(times.sum))
        line("\(name)_count", labels, "\(count)")
    }

    private mutating func line(_ name: String, _ labels: [String], _ value: String) {
        text += labels.isEmpty ? "\(name) \(value)\n" : "\(name){\(labels.joined(separator: ","))} \(value)\n"
    }

    private static func seconds(_ nanoseconds: Int) -> String { number(Double(nanoseconds) / 1e9) }

    /// Whole ones without a fraction.
    private static func number(_ value: Double) -> String { Int(exactly: value).map(String.init) ?? "\(value)" }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        guard text.contains(where: { $0 == "\\" || $0.isNewline || $0 == "\"" }) else { return text }
        return text.unicodeScalars.reduce(into: "") { escaped, scalar in
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            case "\"" where quotes: escaped += "\\\""
            default: escaped.unicodeScalars.append(scalar)
            }
        }
    }
}
