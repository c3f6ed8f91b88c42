import NIOCore
import NIOHTTP1
import NIOHTTP2

/// A request to the push mock: a stream of HTTP/2, or one after the other on a connection of HTTP/1.1.
final class PushMockHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let desk: PushDesk
    /// Of HTTP/2.
    private let isStream: Bool
    private var head: HTTPRequestHead?
    private var body = ByteBuffer()

    private static let bodyLimit = 1 << 20

    init(desk: PushDesk, isStream: Bool) { (self.desk, self.isStream) = (desk, isStream) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            body.clear()
        case .body(let part):
            guard body.readableBytes + part.readableBytes <= Self.bodyLimit else { return context.close(promise: nil) }
            body.writeImmutableBuffer(part)
        case .end:
            guard let head else { return }
            answer(head, context)
        }
    }

    private func answer(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        let isPush = desk.isPush(head.uri)
        var wait = isPush ? desk.configuration.latency : .zero
        var answer: PushDesk.Answer?
        if isPush, let fault = desk.nextFault(head.uri) {
            switch fault.kind {
            case .status:
                answer = .init(status: fault.status ?? 500)
                if let seconds = fault.retry_after { answer?.headers = [("retry-after", String(seconds))] }
            case .slow: wait = wait + .milliseconds(Int64(fault.ms ?? 1000))
            case .reset: return context.close(promise: nil)
            case .goaway: return sayGoodbye(context)
            }
        }
        let result = answer ?? desk.answer(head, body, http: isStream ? "2" : "1.1")
        guard wait > .zero else { return write(result, head, context) }
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: wait) {
            let (handler, context) = bound.value
            guard context.channel.isActive else { return }
            handler.write(result, head, context)
        }
    }

    private func write(_ answer: PushDesk.Answer, _ request: HTTPRequestHead, _ context: ChannelHandlerContext) {
        var headers = HTTPHeaders(answer.headers.map { ($0.0, $0.1) })
        headers.add(name: "content-length", value: String(answer.body.utf8.count))
        let head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: answer.status), headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if !answer.body.isEmpty {
            context.write(wrapOutboundOut(.body(.byteBuffer(.init(string: answer.body)))), promise: nil)
        }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }

    /// This stream was not processed, nor is any after it.
    private func sayGoodbye(_ context: ChannelHandlerContext) {
        guard isStream, let connection = context.channel.parent,
            let stream = try? context.channel.syncOptions?.getOption(HTTP2StreamChannelOptions.streamID)
        else { return context.close(promise: nil) }
        let frame = HTTP2Frame(
            streamID: .rootStream,
            payload: .goAway(
                lastStreamID: HTTP2StreamID(max(0, Int(stream) - 2)),
                errorCode: .noError,
                opaqueData: nil
            )
        )
        connection.writeAndFlush(frame, promise: nil)
    }
}
