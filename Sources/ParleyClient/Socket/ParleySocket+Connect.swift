public import NIOCore
import NIOPosix

extension ParleySocket {
    /// How to connect.
    public struct Options: Sendable {
        /// For TCP and the handshake together.
        public var timeout: TimeAmount = .seconds(10)
        /// The source to bind to; nil leaves it to the system. One address has some 28,000 ports towards one gateway.
        public var localAddress: SocketAddress?

        public init() {}
    }

    /// Connects and upgrades.
    /// - Parameters:
    ///   - gateway: names the host in the request.
    ///   - address: of the gateway, resolved before (``GatewayAddress/resolve()``).
    ///   - eventLoop: the one this is called on, and the socket's.
    ///   - completion: gets the open socket, before any of its frames: set its handlers there. Otherwise
    ///     `connectionFailed`, `handshakeFailed`, `connectionClosed` or `timedOut`.
    public static func connect(
        to gateway: GatewayAddress,
        at address: SocketAddress,
        on eventLoop: any EventLoop,
        options: Options = Options(),
        completion: @escaping (Result<ParleySocket, ClientError>) -> Void
    ) {
        eventLoop.assertInEventLoop()
        let handler = ParleySocketHandler(gateway: gateway, timeout: options.timeout, completion: completion)
        let bound = NIOLoopBound(handler, eventLoop: eventLoop)
        var bootstrap = ClientBootstrap(group: eventLoop)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connectTimeout(options.timeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(bound.value) }
            }
        if let localAddress = options.localAddress {
            #if os(Linux)
                // The port is chosen at connect, by the whole four-tuple; otherwise bind searches for one free
                // towards everybody. IPPROTO_IP is 0, IP_BIND_ADDRESS_NO_PORT 24.
                bootstrap = bootstrap.channelOption(
                    ChannelOptions.socket(0, 24),
                    value: 1
                )
            #endif
            bootstrap = bootstrap.bind(to: localAddress)
        }
        bootstrap.connect(to: address).assumeIsolated().whenFailure { error in
            handler.finish(.failure(ClientError(.connectionFailed, "\(gateway): \(error)")))
        }
    }
}

/// Upgrades, then passes what arrives to the socket.
final class ParleySocketHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let gateway: GatewayAddress
    private let timeout: TimeAmount
    private let key = WebSocketHandshake.randomKey()
    private var completion: ((Result<ParleySocket, ClientError>) -> Void)?
    private var input = ByteBuffer()
    private var socket: ParleySocket?
    private var timer: Scheduled<Void>?
    private var lastError = "the connection broke"

    init(
        gateway: GatewayAddress,
        timeout: TimeAmount,
        completion: @escaping (Result<ParleySocket, ClientError>) -> Void
    ) {
        self.gateway = gateway
        self.timeout = timeout
        self.completion = completion
    }

    func finish(_ result: Result<ParleySocket, ClientError>) {
        timer?.cancel()
        timer = nil
        let completion = completion
        self.completion = nil
        completion?(result)
    }

    func channelActive(context: ChannelHandlerContext) {
        let channel = context.channel
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: timeout) {
            self.finish(.failure(ClientError(.timedOut, "\(self.gateway): no answer to the WebSocket handshake")))
            channel.close(promise: nil)
        }
        context.writeAndFlush(wrapOutboundOut(WebSocketHandshake.request(to: gateway, key: key)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        if let socket { return socket.received(bytes) }
        guard completion != nil else { return }
        input.writeBuffer(&bytes)
        do throws(ClientError) {
            guard try WebSocketHandshake.readAnswer(from: &input, key: key) else { return }
            let socket = ParleySocket(channel: context.channel)
            self.socket = socket
            finish(.success(socket))
            let rest = input
            input = ByteBuffer()
            if rest.readableBytes > 0 { socket.received(rest) }
        } catch {
            finish(.failure(ClientError(error.code, "\(gateway): \(error.message)")))
            context.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        finish(.failure(ClientError(.connectionClosed, "\(gateway): \(lastError) during the WebSocket handshake")))
        socket?.ended(lastError)
        socket = nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        lastError = "\(error)"
        context.close(promise: nil)
    }
}
