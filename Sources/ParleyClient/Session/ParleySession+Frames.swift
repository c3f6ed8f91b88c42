import NIOCore
import ParleyWire

extension ParleySession {
    func received(_ frame: ServerFrame, on id: ObjectIdentifier) {
        if case .ready(let ready) = frame.operation, let candidate, ObjectIdentifier(candidate) == id {
            return take(candidate, ready)
        }
        guard let socket, ObjectIdentifier(socket) == id else { return }
        switch frame.operation {
        case .event(let q, let event):
            switch state.receive(event, q: q) {
            case .handle: continuation.yield(.event(q: q, event))
            case .skip: break
            case .fetch(let cursor): socket.send(ClientFrame(.sync(cursor)))
            }
            scheduleAcknowledgement()
        case .live(let q):
            state.fetched()
            if state.resync == nil { continuation.yield(.live(q: q)) }
        case .sent(let sent):
            settle(sent.cid, .success(sent))
        case .error(let failure):
            received(failure)
        case .goaway(let goaway):
            departure = goaway
            if let gateway { directory.failed(gateway, at: steadyNow) }
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
        (gateway, departure) = (candidateGateway, nil)
        retry?.cancel()
        readyDeadline?.cancel()
        if let gateway { directory.succeeded(gateway) }
        (isReady, didRefresh, readySince) = (true, false, .now())
        old?.close(.goingAway)
        clockOffset = ready.now - Self.now()
        let needsResync = state.ready(ready)
        continuation.yield(.ready(ready))
        for (conversation, seq) in state.takeReads() { socket.send(ClientFrame(.read(conv: conversation, seq: seq))) }
        transmit()
        if needsResync { resync() }
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

    func transmit() {
        guard isReady, let socket else { return }
        for operation in state.takeSendable() { socket.send(ClientFrame(operation)) }
    }

    func scheduleAcknowledgement() {
        guard !isAckScheduled else { return }
        isAckScheduled = true
        eventLoop.assumeIsolated().scheduleTask(in: configuration.acknowledgeWithin) {
            self.assumeIsolated { $0.acknowledge() }
        }
    }

    func acknowledge() {
        guard isAckScheduled else { return }
        isAckScheduled = false
        if isReady, state.resync == nil, let cursor = state.cursor { socket?.send(ClientFrame(.ack(q: cursor.q))) }
    }
}
