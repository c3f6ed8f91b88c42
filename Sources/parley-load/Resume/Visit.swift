import NIOCore
import ParleyClient
import ParleyWire

/// A device's stay at a gateway: it connects, takes what it missed and leaves without acknowledging anything. On one
/// event loop.
final class Visit {
    struct Outcome: Sendable {
        var mode = ServerFrame.Mode.live
        /// Where the queue stood.
        var head = ClientFrame.Cursor(epoch: "", q: 0)
        /// Of the events that came, in the order they came in.
        var positions: [Int64] = []
        /// Nanoseconds from the begin of connecting to the first event; nil without one.
        var first: Int64?
        /// To when the gateway said that there is no more.
        var end: Int64 = 0
    }

    static let patience = TimeAmount.seconds(60)

    private let seat: Seat
    private let cursor: ClientFrame.Cursor?
    private let eventLoop: any EventLoop
    private let promise: EventLoopPromise<Outcome>
    private var start: Int64 = 0
    private var outcome = Outcome()
    private var timer: Scheduled<Void>?

    init(_ seat: Seat, after cursor: ClientFrame.Cursor?, on eventLoop: any EventLoop) {
        self.seat = seat
        self.cursor = cursor
        self.eventLoop = eventLoop
        promise = eventLoop.makePromise()
    }

    func begin() -> EventLoopFuture<Outcome> {
        let gateway = seat.gateways[seat.home]
        timer = eventLoop.assumeIsolated().scheduleTask(in: Self.patience) {
            self.finish(.failure(ClientError(.timedOut, "\(gateway.address): a resume came to no end")))
        }
        start = Clock.nanoseconds()
        ParleySocket.connect(to: gateway.address, at: gateway.socketAddress, on: eventLoop) {
            switch $0 {
            case .success(let socket): self.opened(socket)
            case .failure(let error): self.finish(.failure(error))
            }
        }
        return promise.futureResult
    }

    private func opened(_ socket: ParleySocket) {
        socket.onText = { self.received($0, on: socket) }
        socket.onClose = { self.finish(.failure(ClientError(.connectionClosed, "closed with \($0 ?? 0) \($1)"))) }
        socket.send(ClientFrame(.auth(.init(token: seat.token, device: seat.device, resume: cursor))))
    }

    private func received(_ text: ByteBuffer, on socket: ParleySocket) {
        if let frame = FrameScan(text), frame.operation == .event {
            if outcome.first == nil { outcome.first = Clock.nanoseconds() - start }
            outcome.positions.append(frame.q)
            return
        }
        switch (try? ServerFrame.decode(text))?.operation {
        case .ready(let ready):
            outcome.mode = ready.mode
            outcome.head = .init(epoch: ready.epoch, q: ready.head)
            if ready.mode != .replay { leave(socket) }
        case .live: leave(socket)
        default: break
        }
    }

    private func leave(_ socket: ParleySocket) {
        outcome.end = Clock.nanoseconds() - start
        (socket.onText, socket.onClose) = (nil, nil)
        socket.close()
        finish(.success(outcome))
    }

    private func finish(_ result: Result<Outcome, any Error>) {
        guard let timer else { return }
        timer.cancel()
        self.timer = nil
        promise.completeWith(result)
    }
}
