/// What `/metrics` says, for people: Ops/METRICS.md.
public enum MetricsReference {
    public static var markdown: String {
        """
        # Metrics

        <!-- Written by `parley metrics-reference`, from Sources/ParleyServer/Operations/Metrics/MetricsCatalogue.swift. -->

        `GET /metrics` of every gateway, and of every worker that has a `PARLEY_HEALTH_PORT`, answers in Prometheus's text
        format. What the parts of a process count is added up; nothing is kept for those who do not ask. Counters begin at 0
        when a process starts. A histogram's buckets end at 50 µs, 100 µs, 200 µs, 500 µs, 1 ms and so on up to 10 s.

        The runbook says which of them answers which question: *Metrics* in [RUNBOOK.md](RUNBOOK.md).

        | metric | kind | labels | exported by | what |
        | --- | --- | --- | --- | --- |

        """ + Metric.all.map { row($0) }.joined()
    }

    private static func row(_ metric: Metric) -> String {
        let labels = metric.labels.map { "`\($0)`" }.joined(separator: ", ")
        return "| `\(metric.name)` | \(metric.kind) | \(labels) | \(metric.origin.rawValue) | \(metric.help) |\n"
    }
}
