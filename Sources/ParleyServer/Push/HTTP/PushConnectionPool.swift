import NIOCore
import NIOPosix
import NIOSSL
import ParleyCore

/// The connections to one origin, and the requests that wait for one of them. Confined to its event loop.
final class PushConnectionPool: @unchecked Sendable {
    private struct Waiting {
        let request: PushRequest
        let promise: EventLoopPromise<PushResponse>
        let deadline: NIODeadline
    }

    private let origin: PushURL.Origin
    /// Somebody who runs no part of this deployment chose where it goes.
    private let isForeign: Bool
    private let eventLoop: any EventLoop
    private let tls: NIOSSLContext
    private let configuration: PushHTTPConfiguration

    private var connections: [PushConnection] = []
    private var connecting = 0
    private var isSlow = false
    private var waiting = CircularBuffer<Waiting>()
    private var lastUse = NIODeadline.now()

    init(
        origin: PushURL.Origin,
        isForeign: Bool,
        eventLoop: any EventLoop,
        tls: NIOSSLContext,
        configuration: PushHTTPConfiguration
    ) {
        self.origin = origin
        self.isForeign = isForeign
        self.eventLoop = eventLoop
        self.tls = tls
        self.configuration = configuration
        isSlow = !origin.isSecure
    }

    func isIdle(for time: TimeAmount) -> Bool { waiting.isEmpty && connecting == 0 && lastUse + time < .now() }

    func close() {
        for connection in connections { connection.close() }
        failWaiting(PushError.transport("the client is closed"))
    }

    private func failWaiting(_ error: PushError) {
        while let entry = waiting.popFirst() { entry.promise.fail(error) }
    }

    func enqueue(_ request: PushRequest) -> EventLoopFuture<PushResponse> {
        let promise = eventLoop.makePromise(of: PushResponse.self)
        lastUse = .now()
        let deadline = lastUse + configuration.patience
        waiting.append(Waiting(request: request, promise: promise, deadline: deadline))
        let timeout = eventLoop.scheduleTask(deadline: deadline) {
            promise.fail(PushError.transport("\(self.origin): its turn did not come in time"))
        }
        promise.futureResult.whenComplete { _ in timeout.cancel() }
        dispatch()
        return promise.futureResult
    }

    /// Sends as much as there is room for, and connects where there is none.
    private func dispatch() {
        while !waiting.isEmpty {
            guard let connection = connections.filter(\.hasRoom).min(by: { $0.inFlight < $1.inFlight }) else { break }
            guard let next = waiting.popFirst() else { break }
            if next.deadline > .now() { connection.send(next.request, next.promise, timeout: configuration.timeout) }
        }
        let limit = isSlow ? configuration.slowConnections : configuration.connections
        let usable = connections.count { $0.isUsable }
        if !waiting.isEmpty, usable + connecting < limit, isSlow || connecting == 0 { connect() }
    }

    private func connect() {
        connecting += 1
        let (origin, allowed) = (origin, !isForeign || configuration.allowsPrivateAddresses)
        NIOThreadPool.singleton.runIfActive(eventLoop: eventLoop) {
            try SocketAddress.makeAddressResolvingHost(origin.host, port: origin.port)
        }.flatMap { address -> EventLoopFuture<PushConnection> in
            // What was resolved is what is connected to: no second answer of the name's server comes between.
            if !allowed, Self.isPrivate(address) {
                return self.eventLoop.makeFailedFuture(PushError.forbiddenAddress(address.ipAddress ?? "?"))
            }
            return PushConnection.connect(to: address, self.origin, self.tls, self.configuration, on: self.eventLoop) {
                self.dispatch()
            }
        }.whenComplete { result in
            self.connecting -= 1
            switch result {
            case .success(let connection):
                self.isSlow = !connection.isMultiplexed
                self.connections.append(connection)
                connection.closed.whenComplete { _ in
                    self.connections.removeAll { $0 === connection }
                    self.dispatch()
                }
            case .failure(let error):
                // Whoever waits beside a connection that works waits for that.
                guard self.connections.isEmpty, self.connecting == 0 else { break }
                let error = error as? PushError ?? PushError.transport("\(origin): \(error)")
                self.failWaiting(error)
            }
            self.dispatch()
        }
    }

    private static func isPrivate(_ address: SocketAddress) -> Bool {
        guard let text = address.ipAddress, let client = ClientAddress(text.prefix { $0 != "%" }) else { return true }
        return PrivateAddresses.contains(client)
    }
}
