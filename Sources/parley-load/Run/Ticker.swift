import NIOCore

/// The line a second that shows a run live, and the timeline that keeps what it showed.
struct Ticker {
    private(set) var points: [TimelinePoint] = []
    private let start: NIODeadline
    /// Else only the sessions are shown.
    private let hasMessages: Bool
    private var count = 0
    /// What came since the last line, between phases.
    private var gathered = Progress()
    private var last: NIODeadline

    init(start: NIODeadline, hasMessages: Bool) {
        (self.start, last) = (start, start)
        self.hasMessages = hasMessages
    }

    /// When the next line is due.
    var next: NIODeadline { start + .seconds(Int64(count + 1)) }

    func printHeader() {
        say("     s   connected" + (hasMessages ? "    acked/s   p50 ms   p99 ms   errors   late" : ""))
    }

    /// What is seen between lines, added to the next one.
    mutating func gather(_ progress: Progress) {
        let (latency, acked) = (gathered.latency, gathered.acked)
        gathered = progress
        gathered.latency += latency
        gathered.acked += acked
        while next < NIODeadline.now() { count += 1 }
    }

    mutating func tick(_ progress: Progress, isWarmup: Bool) {
        gather(progress)
        let now = NIODeadline.now()
        count = max(count, Int((now - start).nanoseconds / 1_000_000_000))
        let seconds = Double((now - last).nanoseconds) / 1e9
        let point = TimelinePoint(
            s: rounded(Double((now - start).nanoseconds) / 1e9),
            warmup: isWarmup,
            acked: Int((Double(gathered.acked) / max(seconds, 0.001)).rounded()),
            p50: gathered.latency.percentile(50),
            p99: gathered.latency.percentile(99),
            connected: gathered.connected,
            errors: gathered.errors,
            late: gathered.late
        )
        points.append(point)
        (gathered, last) = (Progress(), now)
        var cells = [pad(number(point.s), 6), pad(String(point.connected), 11)]
        if hasMessages {
            cells += [
                pad(String(point.acked), 10), pad(milliseconds(point.p50), 8), pad(milliseconds(point.p99), 8),
                pad(String(point.errors), 8), pad(String(point.late), 6),
            ]
        }
        say(cells.joined(separator: " ") + (isWarmup ? "   warm-up" : ""))
    }
}
