import NIOCore
import NIOHTTP1
import NIOPosix

/// One keep-alive connection, with one request at a time.
struct HTTPConnection: Sendable {
    struct Response: Sendable {
        var status: Int
        var body: ByteBuffer
        /// Whether the connection takes another request.
        var keepsAlive: Bool
    }

    private let channel: any Channel

    var isActive: Bool { channel.isActive }

    static func connect(to address: GatewayAddress, group: any EventLoopGroup) async throws(ClientError) -> Self {
        let target = try address.resolve()
        do {
            let channel = try await ClientBootstrap(group: group)
                .connectTimeout(.seconds(5))
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHTTPClientHandlers(
                            leftOverBytesStrategy: .dropBytes,
                            enableOutboundHeaderValidation: true
                        )
                        try channel.pipeline.syncOperations.addHandler(HTTPExchangeHandler())
                    }
                }
                .connect(to: target).get()
            return Self(channel: channel)
        } catch {
            throw ClientError(.connectionFailed, "\(address): \(error)")
        }
    }

    /// - Throws: `connectionClosed` or `timedOut`; then the connection is of no further use.
    func send(_ head: HTTPRequestHead, _ body: ByteBuffer?, timeout: TimeAmount) async throws(ClientError) -> Response {
        let promise = channel.eventLoop.makePromise(of: Response.self)
        let exchange = HTTPExchange(head: head, body: body, promise: promise)
        let deadline = channel.eventLoop.scheduleTask(in: timeout) {
            promise.fail(ClientError(.timedOut, "no answer to \(head.method) \(head.uri) within \(timeout.seconds) s"))
        }
        channel.writeAndFlush(exchange).cascadeFailure(to: promise)
        defer { deadline.cancel() }
        do {
            return try await promise.futureResult.get()
        } catch let error as ClientError {
            close()
            throw error
        } catch {
            close()
            throw ClientError(.connectionClosed, "\(head.method) \(head.uri): \(error)")
        }
    }

    func close() {
        channel.close(promise: nil)
    }
}

extension TimeAmount {
    fileprivate var seconds: Int64 { nanoseconds / 1_000_000_000 }
}

struct HTTPExchange: Sendable {
    let head: HTTPRequestHead
    let body: ByteBuffer?
    let promise: EventLoopPromise<HTTPConnection.Response>
}

/// Writes a request and gathers its answer.
final class HTTPExchangeHandler: ChannelDuplexHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundIn = HTTPExchange
    typealias OutboundOut = HTTPClientRequestPart

    static let maximumBodyBytes = 64 << 20

    private var current: HTTPExchange?
    private var response: HTTPConnection.Response?

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let exchange = unwrapOutboundIn(data)
        current = exchange
        context.write(wrapOutboundOut(.head(exchange.head)), promise: nil)
        if let body = exchange.body { context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil) }
        context.write(wrapOutboundOut(.end(nil)), promise: promise)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            response = .init(status: Int(head.status.code), body: ByteBuffer(), keepsAlive: head.isKeepAlive)
        case .body(var part):
            response?.body.writeBuffer(&part)
            if response?.body.readableBytes ?? 0 > Self.maximumBodyBytes { context.close(promise: nil) }
        case .end:
            guard let response else { return }
            current?.promise.succeed(response)
            (current, self.response) = (nil, nil)
            if !response.keepsAlive { context.close(promise: nil) }
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        current?.promise.fail(ClientError(.connectionClosed, "the connection ended before the answer"))
        current = nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        current?.promise.fail(ClientError(.connectionClosed, "\(error)"))
        current = nil
        context.close(promise: nil)
    }
}
