import NIOCore
import NIOHTTP1
import NIOHTTP2
import NIOPosix
import NIOSSL

/// One connection to a push service. Confined to its event loop.
final class PushConnection: @unchecked Sendable {
    private let channel: any Channel
    /// nil for HTTP/1.1.
    private let multiplexer: NIOHTTP2Handler.StreamMultiplexer?
    private let origin: PushURL.Origin
    private let limit: Int
    private let onRoom: () -> Void

    private(set) var inFlight = 0
    /// The other end has said goodbye, or did not answer in time: what is under way ends, nothing new begins.
    private var isEnding = false
    /// What the other end takes at once; RFC 9113 recommends at least 100 before it has said.
    fileprivate var streamLimit = 100

    static func connect(
        to address: SocketAddress,
        _ origin: PushURL.Origin,
        _ tls: NIOSSLContext,
        _ configuration: PushHTTPConfiguration,
        on eventLoop: any EventLoop,
        onRoom: @escaping @Sendable () -> Void
    ) -> EventLoopFuture<PushConnection> {
        let ready = eventLoop.makePromise(of: PushConnection.self)
        let errors = LastError()
        ClientBootstrap(group: eventLoop)
            .connectTimeout(configuration.connectTimeout)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.closeFuture.whenComplete { _ in
                    ready.fail(
                        PushError.transport("\(origin): \(errors.error.map { "\($0)" } ?? "the connection was closed")")
                    )
                }
                return channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    guard origin.isSecure else { return try pipeline.addHandler(errors) }
                    let isAddress = (try? SocketAddress(ipAddress: origin.host, port: 0)) != nil
                    try pipeline.addHandler(
                        NIOSSLClientHandler(context: tls, serverHostname: isAddress ? nil : origin.host)
                    )
                }.flatMap {
                    guard origin.isSecure else {
                        return Self.configureHTTP1(channel, origin, configuration, ready, onRoom)
                    }
                    return channel.configureHTTP2SecureUpgrade(
                        h2ChannelConfigurator: { Self.configureHTTP2($0, origin, configuration, ready, onRoom) },
                        http1ChannelConfigurator: { Self.configureHTTP1($0, origin, configuration, ready, onRoom) }
                    ).flatMapThrowing { try channel.pipeline.syncOperations.addHandler(errors) }
                }
            }
            .connect(to: address)
            .whenComplete { result in
                switch result {
                case .success(let channel): ready.futureResult.whenFailure { _ in channel.close(promise: nil) }
                case .failure(let error): ready.fail(PushError.transport("\(origin): \(error)"))
                }
            }
        // A handshake that never ends.
        let timeout = eventLoop.scheduleTask(in: configuration.connectTimeout * 2) {
            ready.fail(PushError.transport("\(origin): no handshake in time"))
        }
        ready.futureResult.whenComplete { _ in timeout.cancel() }
        return ready.futureResult
    }

    private static func configureHTTP2(
        _ channel: any Channel,
        _ origin: PushURL.Origin,
        _ configuration: PushHTTPConfiguration,
        _ ready: EventLoopPromise<PushConnection>,
        _ onRoom: @escaping @Sendable () -> Void
    ) -> EventLoopFuture<Void> {
        channel.eventLoop.makeCompletedFuture {
            // A service may reset many of a backlog's pushes for good reasons.
            var streams = NIOHTTP2Handler.StreamConfiguration()
            streams.streamResetFrameRateLimit.maximumCount = 10_000
            streams.streamErrorRateLimit.maximumCount = 10_000
            let handler = NIOHTTP2Handler(
                mode: .client,
                eventLoop: channel.eventLoop,
                streamConfiguration: streams,
                inboundStreamInitializer: { $0.close() }
            )
            let pipeline = channel.pipeline.syncOperations
            try pipeline.addHandler(handler)
            let multiplexer = try handler.syncMultiplexer()
            let connection = PushConnection(channel, multiplexer, origin, configuration.inFlight, onRoom)
            try pipeline.addHandler(ConnectionFrames(connection: connection))
            ready.succeed(connection)
        }
    }

    private static func configureHTTP1(
        _ channel: any Channel,
        _ origin: PushURL.Origin,
        _ configuration: PushHTTPConfiguration,
        _ ready: EventLoopPromise<PushConnection>,
        _ onRoom: @escaping @Sendable () -> Void
    ) -> EventLoopFuture<Void> {
        channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHTTPClientHandlers(leftOverBytesStrategy: .dropBytes)
            let connection = PushConnection(channel, nil, origin, 1, onRoom)
            if channel.isActive {
                ready.succeed(connection)
            } else {
                try channel.pipeline.syncOperations.addHandler(WhenActive { ready.succeed(connection) })
            }
        }
    }

    private init(
        _ channel: any Channel,
        _ multiplexer: NIOHTTP2Handler.StreamMultiplexer?,
        _ origin: PushURL.Origin,
        _ limit: Int,
        _ onRoom: @escaping () -> Void
    ) {
        self.channel = channel
        self.multiplexer = multiplexer
        self.origin = origin
        self.limit = limit
        self.onRoom = onRoom
    }

    var isMultiplexed: Bool { multiplexer != nil }
    var isUsable: Bool { !isEnding && channel.isActive }
    var hasRoom: Bool { isUsable && inFlight < (isMultiplexed ? min(limit, streamLimit) : 1) }
    var closed: EventLoopFuture<Void> { channel.closeFuture }

    func close() { channel.close(promise: nil) }

    fileprivate func end() {
        isEnding = true
        if inFlight == 0 { close() }
        onRoom()
    }

    fileprivate func hasMoreRoom() { onRoom() }

    func send(_ request: PushRequest, _ promise: EventLoopPromise<PushResponse>, timeout: TimeAmount) {
        inFlight += 1
        let timer = channel.eventLoop.scheduleTask(in: timeout) {
            promise.fail(PushError.transport("\(self.origin): no answer in time"))
        }
        let exchange = PushExchange(request, promise)
        promise.futureResult.whenComplete { result in
            self.inFlight -= 1
            timer.cancel()
            // One that did not answer may be gone without a word; a connection of HTTP/1.1 still owes the answer.
            if case .failure = result, exchange.isUnanswered { self.isEnding = true }
            exchange.cancel()
            if !self.isMultiplexed, exchange.endsConnection { self.isEnding = true }
            if self.isEnding, self.inFlight == 0 { self.close() }
            self.onRoom()
        }
        guard let multiplexer else {
            do { try channel.pipeline.syncOperations.addHandler(exchange) } catch { promise.fail(error) }
            return
        }
        multiplexer.createStreamChannel(promise: nil) { stream in
            stream.eventLoop.makeCompletedFuture {
                let codec = HTTP2FramePayloadToHTTP1ClientCodec(httpProtocol: .https)
                try stream.pipeline.syncOperations.addHandlers(codec, exchange)
            }.flatMapErrorThrowing {
                promise.fail($0)
                throw $0
            }
        }
    }
}

/// What concerns the connection as a whole.
private final class ConnectionFrames: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame

    private let connection: PushConnection

    init(connection: PushConnection) { self.connection = connection }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data).payload {
        case .goAway: connection.end()
        case .settings(.settings(let settings)):
            if let limit = settings.last(where: { $0.parameter == .maxConcurrentStreams })?.value {
                connection.streamLimit = limit
                connection.hasMoreRoom()
            }
        default: break
        }
    }
}

/// Keeps what went wrong for whoever waits for the connection.
private final class LastError: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = Any

    private(set) var error: (any Error)?

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.error = error
        context.close(promise: nil)
    }
}

private final class WhenActive: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = Any

    private let body: () -> Void

    init(_ body: @escaping () -> Void) { self.body = body }

    func channelActive(context: ChannelHandlerContext) {
        body()
        context.fireChannelActive()
    }
}
