import NIOCore
import ParleyWire

extension ParleySession {
    /// How long a gateway may take to say where the others are, and to sign in.
    private static let askPatience = TimeAmount.seconds(3)
    private static let readyPatience = TimeAmount.seconds(20)

    func connect() {
        guard !isClosed, !isConnecting, departure != nil || socket == nil else { return }
        isConnecting = true
        if let url = departure?.url, let gateway = try? GatewayAddress(url) {
            departure?.url = nil
            return dial(gateway)
        }
        Task { await discover() }
    }

    /// Asks whoever answers which gateway is best, and connects to it.
    private func discover() async {
        for gateway in directory.order(at: steadyNow) {
            let api = ParleyAPI(gateway, group: eventLoop, connections: 1, timeout: Self.askPatience)
            let answer: [GatewayEntry]?
            var isThere = true
            do throws(ClientError) {
                answer = try await api.gateways(zone: configuration.zone)
            } catch {
                answer = nil
                if case .refused = error.code {} else { isThere = false }
            }
            await api.shutdown()
            if let answer {
                directory.learn(answer.compactMap { try? GatewayAddress($0.url) })
                break
            }
            if !isThere { directory.failed(gateway, at: steadyNow) }
        }
        guard !isClosed else { return }
        dial(directory.order(at: steadyNow)[0])
    }

    private func dial(_ gateway: GatewayAddress) {
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
            candidateFailed(nil, error.message)
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
            readyDeadline = eventLoop.assumeIsolated().scheduleTask(in: Self.readyPatience) { socket.abort() }
        }
    }

    private func ended(_ id: ObjectIdentifier, _ code: UInt16?, _ reason: String) {
        if candidate.map(ObjectIdentifier.init) == id {
            candidate = nil
            candidateFailed(code, reason)
        } else if socket.map(ObjectIdentifier.init) == id {
            socket = nil
            if isReady { backoff.ended(afterMilliseconds: (NIODeadline.now() - readySince).nanoseconds / 1_000_000) }
            isReady = false
            guard !isClosed else { return }
            // Its successor took over, and is about to be ready.
            if isConnecting, code == CloseCode.replaced.rawValue { return }
            continuation.yield(.disconnected(code: code, reason: reason))
            // A successor on its way says itself what is wrong.
            if !isConnecting { react(to: code, reason) }
        }
    }

    /// A new connection did not come to be. An old one may live on: then this one is stayed with, unless its gateway ends.
    private func candidateFailed(_ code: UInt16?, _ reason: String) {
        isConnecting = false
        readyDeadline?.cancel()
        if let candidateGateway, code != CloseCode.unauthorized.rawValue {
            directory.failed(candidateGateway, at: steadyNow)
        }
        guard !isClosed else { return }
        if socket == nil { continuation.yield(.disconnected(code: code, reason: reason)) }
        // A token may have grown old meanwhile: then it is renewed, and the way goes by discovery.
        let needsToken = code == CloseCode.unauthorized.rawValue && !didRefresh
        if socket != nil, departure?.reason != "drain", !needsToken {
            departure = nil
        } else {
            react(to: code, reason)
        }
    }

    private func react(to code: UInt16?, _ reason: String) {
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
            if error.isRefusal, error.retryMilliseconds == nil {
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
        let gateway = directory.base(at: steadyNow)
        let api = ParleyAPI(gateway, group: eventLoop)
        let result: Result<Account, ClientError>
        do throws(ClientError) {
            result = .success(try await api.refresh(account.refreshToken))
        } catch {
            if !error.isRefusal { directory.failed(gateway, at: steadyNow) }
            result = .failure(error)
        }
        await api.shutdown()
        return result
    }

    /// - Parameter milliseconds: nil for the backoff's.
    func reconnect(after milliseconds: Int64?) {
        var generator = SystemRandomNumberGenerator()
        let delay = milliseconds ?? backoff.next(using: &generator)
        retry?.cancel()
        retry = eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(delay)) {
            self.assumeIsolated { $0.connect() }
        }
    }

    var steadyNow: Int64 { Int64(NIODeadline.now().uptimeNanoseconds / 1_000_000) }
}
