import NIOCore
import ParleyWire

/// What the sockets and polls of one event loop count: plain numbers on the loop, added up at a scrape.
///
/// Swift's checks for overlapping access cost as much as the counting itself, and nothing here calls out.
final class SocketMetrics {
    private var stages: [Session.Stage: Int] = [:]
    private var opened = 0
    private var unwritable = 0
    private var received = 0
    private var sent = 0
    private(set) var committed = 0
    private var repeats = 0
    private var written = 0
    private var polled = 0
    private var refusals: [ErrorCode: Int] = [:]
    private var closes: [CloseCode: Int] = [:]
    private var closedByClient = 0
    private var lost = 0
    @exclusivity(unchecked) private var acks = Histogram()
    @exclusivity(unchecked) private var deliveries = Histogram()

    /// When the frames came in whose answers leave at the end of this turn of the event loop.
    @exclusivity(unchecked) private var unflushedAcks: [NIODeadline] = []
    /// When the messages were committed that leave then, in milliseconds since 1970.
    @exclusivity(unchecked) private var unflushedDeliveries: [Int64] = []

    // MARK: Sockets

    func socketOpened() {
        opened += 1
        stages[.strange, default: 0] += 1
    }

    func stageChanged(from old: Session.Stage, to new: Session.Stage) {
        stages[old, default: 0] -= 1
        stages[new, default: 0] += 1
    }

    /// - Parameter stage: the last one.
    func socketEnded(_ stage: Session.Stage, isWritable: Bool) {
        stages[stage, default: 0] -= 1
        if stage != .closing { lost += 1 }
        if !isWritable { unwritable -= 1 }
    }

    func writabilityChanged(_ isWritable: Bool) { unwritable += isWritable ? -1 : 1 }
    func closing(_ code: CloseCode) { closes[code, default: 0] += 1 }
    func closingAsAsked() { closedByClient += 1 }
    func refused(_ code: ErrorCode) { refusals[code, default: 0] += 1 }

    func read(_ bytes: Int) { received += bytes }
    func wrote(_ bytes: Int) { sent += bytes }

    // MARK: Messages

    /// Of a send, before it is answered.
    func committed(_ result: SendResult) {
        if result.isRepeat { repeats += 1 } else { committed += 1 }
    }

    /// - Parameter time: when the send's frame was read.
    func acknowledged(_ time: NIODeadline) { unflushedAcks.append(time) }

    /// - Parameter commit: of an event that was published just now; nil for what a client comes back for.
    func wroteEvent(committed commit: Int64?) {
        written += 1
        if let commit { unflushedDeliveries.append(commit) }
    }

    func answeredPoll(_ events: Int) { polled += events }

    /// What was written in this turn has gone to the sockets.
    func flushed() {
        if !unflushedAcks.isEmpty {
            let now = NIODeadline.now()
            for time in unflushedAcks { acks.record(nanoseconds: Int((now - time).nanoseconds)) }
            unflushedAcks.removeAll(keepingCapacity: true)
        }
        if !unflushedDeliveries.isEmpty {
            let now = WallClock.milliseconds()
            for time in unflushedDeliveries { deliveries.record(nanoseconds: Int(now - time) * 1_000_000) }
            unflushedDeliveries.removeAll(keepingCapacity: true)
        }
    }

    /// To sockets and polls.
    var delivered: Int { written + polled }

    // MARK: Scrape

    var samples: MetricSamples {
        var samples = MetricSamples()
        samples.add(.sessions, value: stages[.attached] ?? 0)
        samples.add(.socketsUnauthenticated, value: (stages[.strange] ?? 0) + (stages[.attaching] ?? 0))
        samples.add(.socketsOpened, value: opened)
        samples.add(.socketsLagging, value: unwritable)
        samples.add(.socketReceivedBytes, value: received)
        samples.add(.socketSentBytes, value: sent)
        samples.add(.messagesCommitted, "socket", value: committed)
        samples.add(.messagesDuplicate, "socket", value: repeats)
        samples.add(.messagesDelivered, "socket", value: written)
        samples.add(.messagesDelivered, "poll", value: polled)
        for code in ErrorCode.allCases { samples.add(.refusals, "socket", code.rawValue, value: refusals[code] ?? 0) }
        for code in CloseCode.allCases { samples.add(.socketCloses, "\(code.rawValue)", value: closes[code] ?? 0) }
        samples.add(.socketCloses, "client", value: closedByClient)
        samples.add(.socketCloses, "lost", value: lost)
        samples.add(.ackLatency, times: acks)
        samples.add(.deliveryLatency, times: deliveries)
        return samples
    }
}
