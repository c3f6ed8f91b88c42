import NIOCore
import Synchronization

/// Beats on an event loop: how late each beat is shows how long the loop's tasks keep others waiting, and that one came
/// shows that the loop runs at all.
final class LoopHeartbeat: MetricsSource, @unchecked Sendable {
    private let eventLoop: any EventLoop
    private var lag = Histogram()
    private var due = NIODeadline.now()
    private let lastBeat = Atomic<UInt64>(NIODeadline.now().uptimeNanoseconds)

    static let pause = TimeAmount.milliseconds(100)

    init(_ eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        eventLoop.execute { self.wait() }
    }

    /// Until the loop ends.
    private func wait() {
        due = .now() + Self.pause
        eventLoop.assumeIsolated().scheduleTask(deadline: due) {
            let now = NIODeadline.now()
            self.lag.record(nanoseconds: Int((now - self.due).nanoseconds))
            self.lastBeat.store(now.uptimeNanoseconds, ordering: .relaxed)
            self.wait()
        }
    }

    /// How long ago it beat last; can be asked on any thread, also of a loop that stands still.
    func silence(now: NIODeadline) -> TimeAmount {
        now - .uptimeNanoseconds(lastBeat.load(ordering: .relaxed))
    }

    func collect() async -> MetricSamples {
        (try? await eventLoop.submit {
            var samples = MetricSamples()
            samples.add(.eventLoopLag, times: self.lag)
            return samples
        }.get()) ?? MetricSamples()
    }
}
