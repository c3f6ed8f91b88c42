import Foundation
import HTTPTypes
import ParleyWire
import Testing

@testable import ParleyServer

@Suite struct MetricsTests {
    private let sent = Metric.messagesCommitted

    @Test func `the reference in Ops is what the catalogue says`() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Ops/METRICS.md")
        let text = try String(contentsOf: file, encoding: .utf8)
        let command = ".build/debug/parley metrics-reference >Ops/METRICS.md"
        #expect(text == MetricsReference.markdown, "write it anew: \(command)")
    }

    @Test func `names keep Prometheus's conventions and stand once`() {
        #expect(Set(Metric.all.map(\.name)).count == Metric.all.count)
        for metric in Metric.all {
            #expect(metric.name.wholeMatch(of: /(parley|process)_[a-z_]+/) != nil)
            #expect(metric.labels.allSatisfy { $0.wholeMatch(of: /[a-z]+/) != nil && $0 != "le" })
            #expect(metric.name.hasSuffix("_total") == (metric.kind == .counter), "\(metric.name)")
            #expect(metric.name.hasSuffix("_seconds") || metric.kind != .histogram, "\(metric.name)")
            #expect(metric.help.hasSuffix(".") && !metric.help.contains("|"), "\(metric.name)")
        }
    }

    @Test(arguments: [
        (-5, 0), (0, 0), (50_000, 0), (50_001, 1), (1_000_000, 4), (1_000_001, 5), (10_000_000_000, 16),
        (10_000_000_001, 17), (.max / 2, 17),
    ])
    func `a time falls into the first bucket that holds it`(nanoseconds: Int, bucket: Int) {
        var times = Histogram()
        times.record(nanoseconds: nanoseconds)
        #expect(times.counts.firstIndex(of: 1) == bucket)
        #expect(times.count == 1 && times.sum == max(0, nanoseconds))
    }

    @Test func `what the parts of a process say adds up`() {
        var (one, other) = (MetricSamples(), MetricSamples())
        one.add(sent, "socket", value: 2)
        one.add(sent, "http", value: 1)
        other.add(sent, "socket", value: 3)
        var times = Histogram()
        times.record(nanoseconds: 60_000)
        one.add(.ackLatency, times: times)
        other.add(.ackLatency, times: times)
        one.add(other)
        let lines = MetricsText(one).text.split(separator: "\n")
        #expect(lines.contains(#"parley_messages_committed_total{transport="socket"} 5"#))
        #expect(lines.contains(#"parley_messages_committed_total{transport="http"} 1"#))
        #expect(lines.contains(#"parley_ack_latency_seconds_bucket{le="5e-05"} 0"#))
        #expect(lines.contains(#"parley_ack_latency_seconds_bucket{le="0.0001"} 2"#))
        #expect(lines.contains(#"parley_ack_latency_seconds_bucket{le="+Inf"} 2"#))
        #expect(lines.contains("parley_ack_latency_seconds_sum 0.00012"))
        #expect(lines.contains("parley_ack_latency_seconds_count 2"))
    }

    @Test func `each metric comes once, after its help and type`() {
        var samples = MetricSamples()
        samples.add(.sessions, value: 7)
        #expect(
            MetricsText(samples).text
                == "# HELP parley_sessions Signed-in sockets.\n# TYPE parley_sessions gauge\nparley_sessions 7\n"
        )
    }

    @Test func `labels are escaped`() {
        var samples = MetricSamples()
        samples.add(.buildInfo, "1", "6", "gateway", "a \"b\" \\c\nd", value: 1)
        let line = #"parley_build_info{version="1",swift="6",role="gateway",name="a \"b\" \\c\nd"} 1"#
        #expect(MetricsText(samples).text.contains(line + "\n"))
    }

    @Test func `paths that are no route make no series of their own`() {
        let metrics = HTTPMetrics()
        metrics.answered(.get, route: nil, status: 404, in: .milliseconds(1))
        metrics.answered(.init("BREW")!, route: "NotFound", status: 404, in: .milliseconds(1))
        metrics.answered(.get, route: "/v1/me", status: 200, in: .milliseconds(1))
        let series = metrics.collect().series[.httpRequests]
        #expect(Set(series?.keys.map(\.self) ?? []) == [["any", "none", "4xx"], ["GET", "/v1/me", "2xx"]])
    }

    @Test func `sockets are counted by what becomes of them`() {
        let metrics = SocketMetrics()
        func number(_ metric: Metric, _ labels: String...) -> Double? {
            guard case .number(let number)? = metrics.samples.series[metric]?[labels] else { return nil }
            return number
        }
        for _ in 0..<3 { metrics.socketOpened() }
        #expect(number(.socketsUnauthenticated) == 3)
        metrics.stageChanged(from: .strange, to: .attaching)
        #expect(number(.socketsUnauthenticated) == 3)
        metrics.stageChanged(from: .attaching, to: .attached)
        #expect(number(.sessions) == 1 && number(.socketsUnauthenticated) == 2)
        metrics.writabilityChanged(false)
        #expect(number(.socketsLagging) == 1)
        metrics.closing(.slow)
        metrics.stageChanged(from: .attached, to: .closing)
        metrics.socketEnded(.closing, isWritable: false)
        metrics.socketEnded(.strange, isWritable: true)
        #expect(number(.sessions) == 0 && number(.socketsUnauthenticated) == 1 && number(.socketsLagging) == 0)
        #expect(number(.socketCloses, "4002") == 1 && number(.socketCloses, "lost") == 1)
        #expect(number(.socketsOpened) == 3)
    }
}
