import NIOCore
import ParleyWire

extension ParleySession {
    func connect() {
        guard !isClosed, !isConnecting else { return }
        isConnecting = true
        let gateways = configuration.gateways
        let gateway = nextGateway ?? gateways[attempts % gateways.count]
        nextGateway = nil
        attempts += 1
        candidateGateway = gateway
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
        do throws(ClientError) {
            try await renew(account.accessToken)
            connect()
        } catch {
            if case .refused = error.code, error.retryMilliseconds == nil {
                finish(ClientError(.closed, "the sign-in ended: \(error.message)"))
            } else {
                didRefresh = false
                reconnect(after: error.retryMilliseconds)
            }
        }
    }

    /// Gets new tokens, once for all who were refused with this one.
    func renew(_ refused: String) async throws(ClientError) {
        guard account.accessToken == refused else { return }
        let renewal = renewal ?? Task { await self.renewed() }
        self.renewal = renewal
        let result = await renewal.value
        self.renewal = nil
        account = try result.get()
    }

    private func renewed() async -> Result<Account, ClientError> {
        let api = ParleyAPI(configuration.gateways[attempts % configuration.gateways.count], group: eventLoop)
        let result: Result<Account, ClientError>
        do throws(ClientError) {
            result = .success(try await api.refresh(account.refreshToken))
        } catch {
            result = .failure(error)
        }
        await api.shutdown()
        return result
    }

    /// - Parameter milliseconds: nil for the backoff's.
    func reconnect(after milliseconds: Int64?) {
        var generator = SystemRandomNumberGenerator()
        let delay = milliseconds ?? backoff.next(using: &generator)
        eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(delay)) { self.assumeIsolated { $0.connect() } }
    }
}
