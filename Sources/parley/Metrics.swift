import ArgumentParser
import ParleyServer

struct MetricsReferenceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics-reference",
        abstract: "Print the reference of all metrics, Ops/METRICS.md.",
        shouldDisplay: false
    )

    func run() { print(MetricsReference.markdown, terminator: "") }
}
