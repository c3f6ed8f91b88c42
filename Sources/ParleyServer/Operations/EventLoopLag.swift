import NIOCore
import Synchronization

/// How late each event loop runs what is due, by a beat ten times a second: a loop that is kept busy serves nobody
/// meanwhile. That one came shows that the loop runs at all.
final class EventLoopLag: MetricsSource {
    private struct Beats {
        var delays = Histogram()
        var last = NIODeadline.now()
        /// The longest delay in the second that runs, and in the one before.
        var worst = (now: TimeAmount.zero, before: TimeAmount.zero)
        var second: UInt64 = 0

        mutating func note(_ delay: TimeAmount, at now: NIODeadline) {
            turn(to: now)
            last = now
            delays.record(nanoseconds: Int(delay.nanoseconds))
            worst.now = max(worst.now, delay)
        }

        mutating func turn(to now: NIODeadline) {
            let second = now.uptimeNanoseconds / 1_000_000_000
            guard second != self.second else { return }
            worst = (.zero, second == self.second + 1 ? worst.now : .zero)
            self.second = second
        }
    }

    private final class Loop: Sendable {
        let eventLoop: any EventLoop
        let beats = Mutex(Beats())

        init(_ eventLoop: any EventLoop) { self.eventLoop = eventLoop }

        /// Beats from now on, as long as the loop runs.
        func beat(due: NIODeadline) {
            eventLoop.scheduleTask(deadline: due) {
                let now = NIODeadline.now()
                self.beats.withLock { $0.note(now - due, at: now) }
                self.beat(due: now + EventLoopLag.pause)
            }
        }
    }

    static let pause = TimeAmount.milliseconds(100)

    private let loops: [Loop]

    init(_ eventLoops: [any EventLoop]) {
        loops = eventLoops.map(Loop.init)
        for loop in loops { loop.beat(due: .now() + Self.pause) }
    }

    /// The longest delay within the last second or two, of any loop; a beat that is overdue counts as it stands.
    var recent: TimeAmount {
        let now = NIODeadline.now()
        return loops.map { loop in
            loop.beats.withLock { beats in
                beats.turn(to: now)
                return max(beats.worst.now, beats.worst.before, now - beats.last - Self.pause)
            }
        }.max() ?? .zero
    }

    /// How long ago the loop that has been silent for longest had its last beat: a tenth of a second where all is well.
    var silence: TimeAmount {
        let now = NIODeadline.now()
        return loops.map { loop in now - loop.beats.withLock { $0.last } }.max() ?? .zero
    }

    func collect() -> MetricSamples {
        var samples = MetricSamples()
        for loop in loops { samples.add(.eventLoopLag, times: loop.beats.withLock { $0.delays }) }
        return samples
    }
}
