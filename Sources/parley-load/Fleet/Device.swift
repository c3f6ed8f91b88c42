import NIOCore
import ParleyClient
import ParleyWire

/// What a scenario hears of its devices, on their event loop.
protocol DeviceOwner: AnyObject {
    /// A frame that is an event or an acknowledgement.
    func received(_ frame: FrameScan, on device: Device)
    func received(_ failure: ServerFrame.Failure, on device: Device)
    func received(_ presence: ServerFrame.Presence, on device: Device)
    /// The device is signed in, for the first time or again.
    func ready(_ ready: ServerFrame.Ready, on device: Device)
    /// The device is signed in at another gateway, and was never without a connection.
    func moved(_ ready: ServerFrame.Ready, on device: Device)
    /// A connection, signed in or on the way to it, ended otherwise than by `Device.close`; another follows by itself
    /// unless `isFinal`.
    func lost(_ device: Device, wasReady: Bool, reason: String, isFinal: Bool)
}

extension DeviceOwner {
    func received(_ presence: ServerFrame.Presence, on device: Device) {}
    func moved(_ ready: ServerFrame.Ready, on device: Device) {}
}

/// One signed-in device: connects, resumes where it was, acknowledges within a second, comes back by itself, to
/// another gateway where its own does not answer.
class Device {
    let index: Int
    let seat: Seat
    var credentials: Credentials
    private(set) var socket: ParleySocket?
    /// On its way to replace `socket`, at the gateway that `goaway` named.
    private var successor: (socket: ParleySocket, gatewayIndex: Int, deadline: Scheduled<Void>)?
    /// Polls, answered or not.
    var requests = 0
    var isReady = false
    /// How far the server's clock is ahead of ours, in milliseconds.
    private(set) var clockOffset: Int64 = 0
    /// Of the sockets before this one.
    private var earlier = (pings: 0, received: 0, sent: 0)
    var cursor: ClientFrame.Cursor?
    private var needsAck = false
    /// Up to where a socket brings what the one before it brought.
    private var overlap: Int64 = 0
    /// For a gateway to say that it is ready.
    private static let patience = TimeAmount.seconds(20)
    var isClosed = false
    /// Its person has left and may come back.
    private(set) var isAway = false
    /// Signed in at least once: from then on any gateway will do.
    var hasArrived = false
    /// Its connection ended at least once, and nobody here asked for it.
    private(set) var wasDisturbed = false
    var didRefresh = false
    var gatewayIndex: Int
    private var readySince = NIODeadline.uptimeNanoseconds(0)
    private var readyDeadline: Scheduled<Void>?
    var backoff = Backoff()
    private(set) weak var owner: (any DeviceOwner)?
    let eventLoop: any EventLoop

    init(index: Int, seat: Seat, owner: any DeviceOwner, eventLoop: any EventLoop) {
        self.index = index
        self.seat = seat
        self.owner = owner
        self.eventLoop = eventLoop
        gatewayIndex = seat.home
        credentials = Credentials(token: seat.token, refreshToken: seat.refreshToken)
    }

    /// The gateway this device is at, or tries next.
    var gateway: Target { seat.gateways[gatewayIndex] }
    var pingsAnswered: Int { earlier.pings + (socket?.pingsAnswered ?? 0) }
    var bytesReceived: Int { earlier.received + (socket?.bytesReceived ?? 0) }
    var bytesSent: Int { earlier.sent + (socket?.bytesSent ?? 0) }

    func connect() {
        guard !isClosed else { return }
        var options = ParleySocket.Options()
        options.localAddress = seat.localAddress
        let gateway = gateway
        ParleySocket.connect(to: gateway.address, at: gateway.socketAddress, on: eventLoop, options: options) {
            switch $0 {
            case .success(let socket): self.opened(socket)
            case .failure(let error): self.ended(nil, error.message)
            }
        }
    }

    private func opened(_ socket: ParleySocket) {
        guard !isClosed else { return socket.abort() }
        self.socket = socket
        socket.onText = { self.received($0) }
        socket.onClose = { self.ended($0, $1) }
        socket.send(ClientFrame(.auth(.init(token: credentials.token, device: seat.device, resume: cursor))))
        readyDeadline = giveUp(socket)
    }

    private func giveUp(_ socket: ParleySocket) -> Scheduled<Void> {
        eventLoop.assumeIsolated().scheduleTask(in: Self.patience) { socket.abort() }
    }

    private func received(_ text: ByteBuffer) {
        guard let frame = FrameScan(text) else { return received(rare: text) }
        switch frame.operation {
        case .other: received(rare: text)
        case .sent: owner?.received(frame, on: self)
        case .event:
            guard frame.q > overlap else { return }
            if let q = cursor?.q, frame.q > q { cursor?.q = frame.q }
            if !needsAck {
                needsAck = true
                // Between 0.5 and 1 s after the first that is not acknowledged.
                eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(.random(in: 500...1000))) {
                    self.acknowledge()
                }
            }
            owner?.received(frame, on: self)
        }
    }

    private func acknowledge() {
        needsAck = false
        guard isReady, let cursor else { return }
        socket?.send(ClientFrame(.ack(q: cursor.q)))
    }

    private func received(rare text: ByteBuffer) {
        guard let frame = try? ServerFrame.decode(text) else {
            socket?.abort()
            return
        }
        switch frame.operation {
        case .ready(let ready):
            (isReady, hasArrived, didRefresh, overlap) = (true, true, false, 0)
            readyDeadline?.cancel()
            readySince = .now()
            clockOffset = ready.now - Clock.unixMilliseconds()
            // A replay begins where this device was; everything else at the head.
            let q = ready.mode == .replay ? cursor?.q ?? ready.head : ready.head
            cursor = .init(epoch: ready.epoch, q: q)
            owner?.ready(ready, on: self)
        case .error(let failure):
            owner?.received(failure, on: self)
        case .presence(let presence):
            owner?.received(presence, on: self)
        case .goaway(let goaway):
            eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(goaway.reconnectMilliseconds)) {
                self.move(to: goaway.url)
            }
        default:
            break
        }
    }

    private func ended(_ code: UInt16?, _ reason: String) {
        if let socket { count(socket) }
        socket = nil
        // Its successor took over, and is about to be ready.
        if successor != nil, code == CloseCode.replaced.rawValue { return }
        readyDeadline?.cancel()
        guard !isClosed, !isAway else { return }
        if isReady { wasDisturbed = true }
        if isReady { backoff.ended(afterMilliseconds: (NIODeadline.now() - readySince).nanoseconds / 1_000_000) }
        let wasReady = isReady
        isReady = false
        let reason = code.map { "\(gateway.address): closed with \($0) \(reason)" } ?? reason
        let needsRefresh = code.flatMap(CloseCode.init) == .unauthorized && hasArrived && !didRefresh
        let isFinal = CloseCode.reaction(to: code) == .stop && !needsRefresh
        owner?.lost(self, wasReady: wasReady, reason: reason, isFinal: isFinal)
        guard !isFinal, !isAway, successor == nil else { return }
        if !wasReady, hasArrived { gatewayIndex = (gatewayIndex + 1) % seat.gateways.count }
        if needsRefresh {
            didRefresh = true
            refresh().assumeIsolated().whenComplete { _ in self.connect() }
        } else {
            var generator = SystemRandomNumberGenerator()
            let delay = backoff.next(using: &generator)
            eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(delay)) { self.connect() }
        }
    }

    /// Gets a new access token for the refresh token, which is spent.
    func refresh() -> EventLoopFuture<Credentials> {
        let promise = eventLoop.makePromise(of: Credentials.self)
        let (gateway, spent, eventLoop) = (gateway, credentials, eventLoop)
        promise.completeWithTask { try await spent.refreshed(at: gateway, on: eventLoop) }
        promise.futureResult.assumeIsolated().whenSuccess { self.credentials = $0 }
        return promise.futureResult
    }

    /// Make before break: the socket that is here goes when the new one is signed in.
    private func move(to url: String?) {
        let named = seat.gateways.firstIndex { $0.address.description == url }
        let index = named ?? (gatewayIndex + 1) % seat.gateways.count
        guard isReady, successor == nil, index != gatewayIndex else { return }
        let target = seat.gateways[index]
        var options = ParleySocket.Options()
        options.localAddress = seat.localAddress
        ParleySocket.connect(to: target.address, at: target.socketAddress, on: eventLoop, options: options) {
            // Where this fails, the old socket stays, or its end says how to go on.
            guard case .success(let socket) = $0 else { return }
            guard self.isReady, !self.isClosed, !self.isAway, self.successor == nil else { return socket.abort() }
            self.successor = (socket, index, self.giveUp(socket))
            socket.onText = { self.received(fromSuccessor: $0) }
            socket.onClose = { _, reason in
                self.successor?.deadline.cancel()
                self.successor = nil
                // The old one was replaced by one that did not come to be.
                if self.socket == nil { self.ended(nil, reason) }
            }
            socket.send(
                ClientFrame(.auth(.init(token: self.credentials.token, device: self.seat.device, resume: self.cursor)))
            )
        }
    }

    private func received(fromSuccessor text: ByteBuffer) {
        guard let (socket, index, deadline) = successor, let frame = try? ServerFrame.decode(text),
            case .ready(let ready) = frame.operation
        else { return }
        deadline.cancel()
        successor = nil
        if let old = self.socket {
            (old.onText, old.onClose) = (nil, nil)
            count(old)
            old.close(.goingAway)
        }
        (self.socket, gatewayIndex) = (socket, index)
        socket.onText = { self.received($0) }
        socket.onClose = { self.ended($0, $1) }
        guard isReady else { return received(rare: text) }
        readySince = .now()
        // What the old socket brought since the new one said where it was comes once more.
        overlap = ready.mode == .resync ? 0 : cursor?.q ?? 0
        if ready.mode == .resync { cursor = .init(epoch: ready.epoch, q: ready.head) }
        owner?.moved(ready, on: self)
    }

    private func count(_ socket: ParleySocket) {
        earlier.pings += socket.pingsAnswered
        earlier.received += socket.bytesReceived
        earlier.sent += socket.bytesSent
    }

    /// Leaves as a person does.
    func goAway() {
        (isAway, isReady) = (true, false)
        closeAll()
    }

    /// Its connection is lost, and it does not come back by itself.
    func stayAway() { isAway = true }

    /// The connection that was left has ended.
    var mayReturn: Bool { isAway && socket == nil }

    func comeBack() {
        isAway = false
        connect()
    }

    /// Acknowledges what is left and leaves for good.
    func close() {
        if needsAck { acknowledge() }
        isClosed = true
        closeAll()
    }

    private func closeAll() {
        socket?.close(.normal)
        guard let (socket, _, deadline) = successor else { return }
        deadline.cancel()
        successor = nil
        (socket.onText, socket.onClose) = (nil, nil)
        socket.close(.normal)
    }
}
