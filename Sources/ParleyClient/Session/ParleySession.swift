import Foundation
public import NIOCore
public import ParleyWire

/// A signed-in device that stays connected: comes back by itself with full jitter, resumes where it was, repeats
/// unanswered sends with their first cid, acknowledges what was handled, drops repeats, refreshes its token once.
///
/// Lives on the event loop of its sockets. End it with ``close()``.
public actor ParleySession {
    /// What a session tells, in order.
    public enum Update: Sendable, Hashable {
        /// Signed in. After `resync` the queue could not be resumed: what happened before `head` stands in history.
        case ready(ServerFrame.Ready)
        /// A durable event: once each, in the order of the queue.
        case event(q: Int64, Event)
        /// The replay is over.
        case live(q: Int64)
        /// Anything without a place in the queue: presence, typing, receipts of groups.
        case ephemeral(ServerFrame.Operation)
        /// The connection ended; another attempt follows unless the stream ends.
        case disconnected(code: UInt16?, reason: String)
    }

    public struct Configuration: Sendable {
        /// Tried in turn.
        public var gateways: [GatewayAddress]
        public var device: DeviceID
        public var ephemeral = false
        /// Where to resume; nil starts at the head.
        public var resume: ClientFrame.Cursor?
        /// How long handled events wait for a common acknowledgement; at most a second.
        public var acknowledgeWithin: TimeAmount = .milliseconds(500)
        public var backoff = Backoff()

        public init(gateways: [GatewayAddress], device: DeviceID) {
            self.gateways = gateways
            self.device = device
        }
    }

    /// Ends when the session does: closed, replaced by the same device, or told not to come back. One consumer.
    public nonisolated let updates: AsyncStream<Update>
    public nonisolated let unownedExecutor: UnownedSerialExecutor
    /// With the tokens as last refreshed.
    public private(set) var account: Account

    private let configuration: Configuration
    private let eventLoop: any EventLoop
    private let continuation: AsyncStream<Update>.Continuation
    private var state: SessionState
    private var backoff: Backoff
    private var socket: ParleySocket?
    /// Signed in, on `socket`.
    private var isReady = false
    /// Connected and on its way to replace `socket`.
    private var candidate: ParleySocket?
    private var isConnecting = false
    private var attempts = 0
    private var nextGateway: GatewayAddress?
    private var readySince = NIODeadline.uptimeNanoseconds(0)
    private var clockOffset: Int64 = 0
    private var didRefresh = false
    private var isAckScheduled = false
    private var isClosed = false
    private var waiting: [ClientMessageID: CheckedContinuation<Result<ServerFrame.Sent, ClientError>, Never>] = [:]

    /// Begins to connect at once.
    public init(_ configuration: Configuration, account: Account, group: any EventLoopGroup) {
        precondition(!configuration.gateways.isEmpty, "a session needs a gateway")
        self.configuration = configuration
        self.account = account
        eventLoop = group.next()
        unownedExecutor = eventLoop.executor.asUnownedSerialExecutor()
        (updates, continuation) = AsyncStream.makeStream()
        state = SessionState(resume: configuration.resume)
        backoff = configuration.backoff
        Task { await connect() }
    }

    /// Up to where events were handled.
    public var cursor: ClientFrame.Cursor? { state.cursor }

    /// Sends a message and waits for its commit, over reconnects if need be.
    /// - Parameter cid: of an earlier attempt whose outcome is unknown; nil for a new message.
    /// - Throws: `refused` where the gateway says no, `closed` when the session ends first: the outcome is unknown.
    public func send(
        _ content: MessageContent,
        to target: ClientFrame.Target,
        cid: ClientMessageID? = nil
    ) async throws(ClientError) -> ServerFrame.Sent {
        guard !isClosed else { throw ClientError(.closed, "the session is closed") }
        let cid = cid ?? .random(unixMilliseconds: Self.now() + clockOffset)
        guard waiting[cid] == nil else { throw ClientError(.refused(.conflict), "\(cid) is being sent already") }
        state.add(ClientFrame.Send(cid: cid, target: target, content: content))
        let result = await withCheckedContinuation { continuation in
            waiting[cid] = continuation
            transmit()
        }
        return try result.get()
    }

    /// Sends any other frame if the session is signed in now; otherwise it is dropped.
    public func send(_ frame: ClientFrame) {
        if isReady { socket?.send(frame) }
    }

    /// Acknowledges what was handled and leaves for good: presence ends at once.
    public func close() {
        acknowledge()
        socket?.close(.normal)
        finish(ClientError(.closed, "the session was closed"))
    }

    /// Breaks the connection as a network would; the session comes back.
    public func breakConnection() {
        socket?.abort()
    }

    private static func now() -> Int64 { Int64(Date().timeIntervalSince1970 * 1000) }

    private func finish(_ error: ClientError) {
        guard !isClosed else { return }
        isClosed = true
        isReady = false
        candidate?.abort()
        for continuation in waiting.values { continuation.resume(returning: .failure(error)) }
        waiting = [:]
        continuation.finish()
    }
}

// Connecting.
extension ParleySession {
    private func connect() {
        guard !isClosed, !isConnecting else { return }
        isConnecting = true
        let gateways = configuration.gateways
        let gateway = nextGateway ?? gateways[attempts % gateways.count]
        nextGateway = nil
        attempts += 1
        do throws(ClientError) {
            ParleySocket.connect(to: gateway, at: try gateway.resolve(), on: eventLoop) { [eventLoop] in
                let result = NIOLoopBound($0, eventLoop: eventLoop)
                self.assumeIsolated { $0.connected(result.value) }
            }
        } catch {
            connected(.failure(error))
        }
    }

    private func connected(_ result: Result<ParleySocket, ClientError>) {
        switch result {
        case .failure(let error):
            isConnecting = false
            continuation.yield(.disconnected(code: nil, reason: error.message))
            // An old socket may live on while a move to another gateway fails.
            if socket == nil { reconnect(after: nil) }
        case .success(let socket):
            guard !isClosed else { return socket.abort() }
            candidate = socket
            let id = ObjectIdentifier(socket)
            socket.onFrame = { frame in self.assumeIsolated { $0.received(frame, on: id) } }
            socket.onClose = { code, reason in self.assumeIsolated { $0.ended(id, code, reason) } }
            socket.send(
                ClientFrame(
                    .auth(
                        .init(
                            token: account.accessToken,
                            device: configuration.device,
                            resume: state.cursor,
                            ephemeral: configuration.ephemeral
                        )
                    )
                )
            )
        }
    }

    private func ended(_ id: ObjectIdentifier, _ code: UInt16?, _ reason: String) {
        if candidate.map(ObjectIdentifier.init) == id {
            candidate = nil
            isConnecting = false
        } else if socket.map(ObjectIdentifier.init) == id {
            socket = nil
            if isReady { backoff.ended(afterMilliseconds: (NIODeadline.now() - readySince).nanoseconds / 1_000_000) }
            isReady = false
        } else {
            return
        }
        guard !isClosed else { return }
        continuation.yield(.disconnected(code: code, reason: reason))
        switch code.flatMap(CloseCode.init) {
        case .unauthorized where !didRefresh:
            didRefresh = true
            Task { await refresh() }
        case .replaced:
            finish(ClientError(.closed, "the same device connected elsewhere"))
        default:
            if CloseCode.reaction(to: code) == .stop {
                finish(ClientError(.closed, "closed for good with \(code ?? 0): \(reason)"))
            } else {
                reconnect(after: nil)
            }
        }
    }

    private func refresh() async {
        let api = ParleyAPI(configuration.gateways[attempts % configuration.gateways.count], group: eventLoop)
        let result: Result<Account, ClientError>
        do throws(ClientError) {
            result = .success(try await api.refresh(account.refreshToken))
        } catch {
            result = .failure(error)
        }
        await api.shutdown()
        switch result {
        case .success(let fresh):
            account = fresh
            connect()
        case .failure(let error):
            if case .refused = error.code, error.retryMilliseconds == nil {
                finish(ClientError(.closed, "the sign-in ended: \(error.message)"))
            } else {
                didRefresh = false
                reconnect(after: error.retryMilliseconds)
            }
        }
    }

    /// - Parameter milliseconds: nil for the backoff's.
    private func reconnect(after milliseconds: Int64?) {
        var generator = SystemRandomNumberGenerator()
        let delay = milliseconds ?? backoff.next(using: &generator)
        eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(delay)) { self.assumeIsolated { $0.connect() } }
    }
}

// Frames.
extension ParleySession {
    private func received(_ frame: ServerFrame, on id: ObjectIdentifier) {
        if case .ready(let ready) = frame.operation, let candidate, ObjectIdentifier(candidate) == id {
            return take(candidate, ready)
        }
        guard let socket, ObjectIdentifier(socket) == id else { return }
        switch frame.operation {
        case .event(let q, let event):
            switch state.receive(event, q: q) {
            case .handle: continuation.yield(.event(q: q, event))
            case .skip: break
            case .fetch: if let cursor = state.cursor { socket.send(ClientFrame(.sync(cursor))) }
            }
            scheduleAcknowledgement()
        case .live(let q):
            state.fetched()
            continuation.yield(.live(q: q))
        case .sent(let sent):
            settle(sent.cid, .success(sent))
        case .error(let failure):
            received(failure)
        case .goaway(let goaway):
            nextGateway = goaway.url.flatMap { try? GatewayAddress($0) }
            reconnect(after: goaway.reconnectMilliseconds)
        case .ready, .pong, .suggestions, .unknown:
            break
        case .receipt, .presence, .typing:
            continuation.yield(.ephemeral(frame.operation))
        }
    }

    /// The new socket is signed in: the old one, if there is one, has done its duty.
    private func take(_ socket: ParleySocket, _ ready: ServerFrame.Ready) {
        let old = self.socket
        (self.socket, candidate, isConnecting) = (socket, nil, false)
        (isReady, didRefresh, readySince) = (true, false, .now())
        old?.close(.goingAway)
        clockOffset = ready.now - Self.now()
        state.ready(ready)
        continuation.yield(.ready(ready))
        transmit()
    }

    private func received(_ failure: ServerFrame.Failure) {
        // The queue no longer holds what is missing: a new connection is told so in the protocol's way.
        if failure.code == .staleCursor { socket?.abort() }
        guard let cid = failure.cid?.cid else { return }
        switch failure.code {
        case .rateLimited, .overloaded, .unavailable:
            let delay = TimeAmount.milliseconds(failure.retryMilliseconds ?? 1000)
            eventLoop.assumeIsolated().scheduleTask(in: delay) {
                self.assumeIsolated {
                    $0.state.retry(cid)
                    $0.transmit()
                }
            }
        default:
            settle(cid, .failure(ClientError(.refused(failure.code), failure.message)))
        }
    }

    private func settle(_ cid: ClientMessageID, _ result: Result<ServerFrame.Sent, ClientError>) {
        guard state.answered(cid) else { return }
        waiting.removeValue(forKey: cid)?.resume(returning: result)
        transmit()
    }

    private func transmit() {
        guard isReady, let socket else { return }
        for send in state.takeSendable() { socket.send(ClientFrame(.send(send))) }
    }

    private func scheduleAcknowledgement() {
        guard !isAckScheduled else { return }
        isAckScheduled = true
        eventLoop.assumeIsolated().scheduleTask(in: configuration.acknowledgeWithin) {
            self.assumeIsolated { $0.acknowledge() }
        }
    }

    private func acknowledge() {
        guard isAckScheduled else { return }
        isAckScheduled = false
        if isReady, let cursor = state.cursor { socket?.send(ClientFrame(.ack(q: cursor.q))) }
    }
}
