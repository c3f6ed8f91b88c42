/// A metric that this version exports: what `/metrics`, the runbook's table and the tests say of it comes from here.
struct Metric: Sendable, Hashable {
    enum Kind: String, Sendable {
        case counter, gauge, histogram
    }

    /// Who exports it.
    enum Origin: String, Sendable {
        case gateways, workers
        case all = "gateways, workers"
    }

    /// By Prometheus's conventions: base units, counters end in `_total`.
    let name: String
    let kind: Kind
    let labels: [String]
    let origin: Origin
    /// One line.
    let help: String

    init(_ name: String, _ kind: Kind, _ origin: Origin, labels: [String] = [], _ help: String) {
        self.name = name
        self.kind = kind
        self.origin = origin
        self.labels = labels
        self.help = help
    }
}
