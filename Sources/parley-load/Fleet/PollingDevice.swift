import NIOCore
import ParleyClient
import ParleyWire

/// A device without a socket: takes its events by `GET /v1/sync`, each poll acknowledging what the one before brought.
final class PollingDevice: Device {
    /// Seconds that a poll waits where nothing is new.
    static let wait = 30

    private let receive: Receive
    private var api: ParleyAPI?
    /// When the poll under way began.
    private var begun = NIODeadline.uptimeNanoseconds(0)

    init(index: Int, seat: Seat, receive: Receive, owner: any DeviceOwner, eventLoop: any EventLoop) {
        self.receive = receive
        super.init(index: index, seat: seat, owner: owner, eventLoop: eventLoop)
    }

    override func connect() { poll() }

    override func close() {
        isClosed = true
        shutDown()
    }

    private func shutDown() {
        if let api { Task { await api.shutdown() } }
        api = nil
    }

    private func poll() {
        guard !isClosed else { return }
        let api = self.api ?? ParleyAPI(gateway.address, group: eventLoop, connections: 1)
        self.api = api
        begun = .now()
        let (cursor, device, token) = (cursor, seat.device, credentials.token)
        let wait = receive == .longPoll ? Self.wait : 0
        let promise = eventLoop.makePromise(of: SyncPage.self)
        promise.completeWithTask { try await api.sync(after: cursor, device: device, wait: wait, token: token) }
        promise.futureResult.assumeIsolated().whenComplete { self.polled($0) }
    }

    private func polled(_ result: Result<SyncPage, any Error>) {
        requests += 1
        guard !isClosed else { return }
        switch result {
        case .success(let page): take(page)
        case .failure(let error as ClientError): failed(error)
        case .failure(let error): failed(ClientError(.connectionClosed, "\(error)"))
        }
    }

    private func take(_ page: SyncPage) {
        if page.resync, isReady { ended("the queue no longer tells everything") }
        if !isReady {
            let mode: ServerFrame.Mode = page.resync ? .resync : cursor == nil ? .live : .replay
            arrived(
                .init(
                    user: seat.user,
                    session: "",
                    epoch: page.epoch,
                    head: page.head,
                    mode: mode,
                    now: Clock.unixMilliseconds()
                )
            )
        }
        let isFirst = cursor == nil
        cursor = page.cursor
        for item in page.events { owner?.received(FrameScan(item.event, q: item.q), on: self) }
        guard case .poll(let seconds) = receive, page.head <= page.cursor.q else { return poll() }
        // Those who begin together do not poll together.
        let pause = isFirst ? amount(seconds: .random(in: 0...seconds)) : amount(seconds: seconds)
        eventLoop.assumeIsolated().scheduleTask(deadline: begun + pause) { self.poll() }
    }

    private func failed(_ error: ClientError) {
        if error.code == .refused(.unauthorized), hasArrived, !didRefresh {
            didRefresh = true
            return refresh().assumeIsolated().whenComplete { _ in self.poll() }
        }
        let isFinal =
            switch error.code {
            case .refused(.unavailable), .refused(.overloaded), .refused(.rateLimited), .refused(nil): false
            case .refused: true
            default: false
            }
        shutDown()
        ended(error.message, isFinal: isFinal)
        guard !isFinal else { return }
        if hasArrived { gatewayIndex = (gatewayIndex + 1) % seat.gateways.count }
        var generator = SystemRandomNumberGenerator()
        let delay = error.retryMilliseconds ?? backoff.next(using: &generator)
        eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(delay)) { self.poll() }
    }

    private func ended(_ reason: String, isFinal: Bool = false) {
        let wasReady = isReady
        isReady = false
        owner?.lost(self, wasReady: wasReady, reason: reason, isFinal: isFinal)
    }

    private func arrived(_ ready: ServerFrame.Ready) {
        (isReady, hasArrived, didRefresh) = (true, true, false)
        backoff = Backoff()
        owner?.ready(ready, on: self)
    }
}
