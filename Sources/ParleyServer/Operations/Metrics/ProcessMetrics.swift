#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif
#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// What the kernel says of this process, under the names that Prometheus's own clients use.
struct ProcessMetrics: MetricsSource {
    enum Role: String { case gateway, worker }

    let role: Role
    let name: String
    /// Since 1970.
    let start = Double(WallClock.milliseconds()) / 1000

    func collect() -> MetricSamples {
        var samples = MetricSamples()
        samples.add(.buildInfo, Version.current, Version.swift, role.rawValue, name, value: 1)
        samples.add(.logLinesDropped, value: LogSink.standardError.dropped)
        samples.add(.processStart, value: start)
        samples.add(.processCPU, value: Double(ProcessorShare.used) / 1e9)
        if let pages = Self.residentPages { samples.add(.processMemory, value: pages * Int(getpagesize())) }
        if let files = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd") {
            samples.add(.processFiles, value: files.count)
        }
        if let limit = OpenFiles.softLimit { samples.add(.processFileLimit, value: limit) }
        return samples
    }

    private static var residentPages: Int? {
        let fields = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ")
        return fields.flatMap { $0.count > 1 ? Int($0[1]) : nil }
    }
}
