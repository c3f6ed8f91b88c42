import NIOCore
import NIOPosix

/// Open-loop load of requests for suggestions on one event loop: each is due at its time, leaves when a connection is
/// free, and its latency counts from when it was due.
final class SuggestDriver: @unchecked Sendable {
    struct Tally: Sendable {
        var sent = 0
        var answered = 0
        /// By status; 0 for connections that broke with a request on its way.
        var failed: [Int: Int] = [:]
        var latency = Latencies()
    }

    private let eventLoop: any EventLoop
    private let requests: [ByteBuffer]
    private let rate: Double
    private var idle: [SuggestConnection] = []
    private var waiting = CircularBuffer<Int64>()
    private var begun: Int64 = 0
    private var issued = 0
    /// From when on answers count.
    private var counted: Int64 = .max
    private var tally = Tally()
    private var ticker: RepeatedTask?

    /// - Parameters:
    ///   - requests: sent one after the other, again from the first after the last.
    ///   - rate: requests a second.
    init(eventLoop: any EventLoop, requests: [ByteBuffer], rate: Double) {
        self.eventLoop = eventLoop
        self.requests = requests
        self.rate = rate
    }

    func connect(_ count: Int, to address: SocketAddress) async throws {
        for _ in 0..<count {
            _ = try await ClientBootstrap(group: eventLoop)
                .channelOption(.socketOption(.tcp_nodelay), value: 1)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let connection = SuggestConnection(driver: self)
                        try channel.pipeline.syncOperations.addHandler(connection)
                        self.idle.append(connection)
                    }
                }
                .connect(to: address).get()
        }
    }

    func start(warmup: Double) async throws {
        try await eventLoop.submit {
            self.begun = Clock.nanoseconds()
            self.counted = self.begun + Int64(warmup * 1e9)
            self.ticker = self.eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: .milliseconds(1)) { _ in
                self.issue()
            }
        }.get()
    }

    /// No request is due any more.
    func stop() async throws {
        try await eventLoop.submit { self.ticker?.cancel() }.get()
    }

    /// What came so far, and how many requests are without an answer.
    func look() async throws -> (tally: Tally, open: Int) {
        try await eventLoop.submit { (self.tally, self.open) }.get()
    }

    private var open: Int { tally.sent - tally.answered - tally.failed.values.reduce(0, +) }

    private func issue() {
        let due = Int(Double(Clock.nanoseconds() - begun) / 1e9 * rate) + 1
        while issued < due {
            let time = begun + Int64(Double(issued) / rate * 1e9)
            issued += 1
            if time >= counted { tally.sent += 1 }
            waiting.append(time)
        }
        while let connection = idle.last, let due = waiting.popFirst() {
            idle.removeLast()
            send(due, on: connection)
        }
    }

    private var next = 0

    private func send(_ due: Int64, on connection: SuggestConnection) {
        connection.send(requests[next], due: due)
        next = next + 1 == requests.count ? 0 : next + 1
    }

    func answered(_ connection: SuggestConnection, status: Int, due: Int64) {
        if due >= counted {
            if status == 200 { tally.answered += 1 } else { tally.failed[status, default: 0] += 1 }
            tally.latency.record(Clock.nanoseconds() - due)
        }
        if let due = waiting.popFirst() { send(due, on: connection) } else { idle.append(connection) }
    }

    /// It is not replaced: a gateway that ends connections shows.
    func broke(_ connection: SuggestConnection) {
        idle.removeAll { $0 === connection }
        if let due = connection.due, due >= counted { tally.failed[0, default: 0] += 1 }
    }
}
