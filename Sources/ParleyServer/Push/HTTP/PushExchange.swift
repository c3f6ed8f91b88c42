import NIOCore
import NIOHTTP1

/// One request and its answer: on a stream of its own, or on a connection of HTTP/1.1 while that is its turn.
final class PushExchange: ChannelInboundHandler, RemovableChannelHandler, @unchecked Sendable {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let request: PushRequest
    private let promise: EventLoopPromise<PushResponse>
    private var context: ChannelHandlerContext?
    private var head: HTTPResponseHead?
    private var body = ByteBuffer()
    private var isWritten = false
    private var isEnded = false

    /// Of an answer's body, which nobody shows to anybody; more is dropped.
    private static let bodyLimit = 16_384

    init(_ request: PushRequest, _ promise: EventLoopPromise<PushResponse>) {
        self.request = request
        self.promise = promise
    }

    /// It was sent, and there was no answer.
    var isUnanswered: Bool { isWritten && head == nil }
    /// What comes next on this connection would not be the next answer, or it is about to be closed.
    private(set) var endsConnection = false

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { write(context) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelActive(context: ChannelHandlerContext) {
        write(context)
        context.fireChannelActive()
    }

    private func write(_ context: ChannelHandlerContext) {
        guard !isWritten else { return }
        isWritten = true
        var headers = HTTPHeaders(request.headers)
        headers.add(name: "host", value: request.url.origin.authority)
        headers.add(name: "content-length", value: String(request.body.readableBytes))
        headers.add(name: "user-agent", value: "parley")
        let head = HTTPRequestHead(version: .http1_1, method: .POST, uri: request.url.path, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(request.body))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        // 1xx announce the answer that counts.
        case .head(let head): if head.status.code >= 200 { self.head = head }
        case .body(var part):
            let room = Self.bodyLimit - body.readableBytes
            if let kept = part.readSlice(length: min(room, part.readableBytes)) { body.writeImmutableBuffer(kept) }
        case .end:
            guard let head else { return }
            isEnded = true
            endsConnection = !head.isKeepAlive
            context.pipeline.syncOperations.removeHandler(self, promise: nil)
            promise.succeed(
                PushResponse(
                    status: Int(head.status.code),
                    headers: head.headers.map { ($0.name, $0.value) },
                    body: body
                )
            )
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        promise.fail(PushError.transport("\(error)"))
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        promise.fail(PushError.transport("the connection was closed"))
        context.fireChannelInactive()
    }

    /// Nobody waits for the answer any more.
    func cancel() {
        if !isEnded {
            endsConnection = true
            context?.close(promise: nil)
        }
    }
}
