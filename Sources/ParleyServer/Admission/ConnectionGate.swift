import NIOCore
import NIOExtras
import ParleyWire

/// The first handler of a connection that has not become anything yet: bounds what is read of it, and turns it away.
final class ConnectionGate: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// For how long somebody who was turned away may read the answer.
    private static let patience = TimeAmount.seconds(1)

    private var bytesLeft: Int
    private let refusal: HTTPProblem?
    private(set) var isTurnedAway = false
    private var context: ChannelHandlerContext?

    /// - Parameters:
    ///   - bytes: that the connection may send until this handler is removed.
    ///   - refusal: turns it away at once.
    init(bytes: Int, refusal: HTTPProblem? = nil) {
        bytesLeft = bytes
        self.refusal = refusal
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelActive(context: ChannelHandlerContext) {
        if let refusal { turnAway(refusal) }
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isTurnedAway else { return }
        bytesLeft -= unwrapInboundIn(data).readableBytes
        guard bytesLeft >= 0 else { return turnAway(HTTPProblem(.tooLarge, "The request's head is too large.")) }
        context.fireChannelRead(data)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if isTurnedAway, case ChannelEvent.inputClosed = event { return context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        isTurnedAway ? context.close(promise: nil) : context.fireErrorCaught(error)
    }

    /// Answers whatever comes with the problem, and ends the connection.
    func turnAway(_ problem: HTTPProblem) {
        guard let context, !isTurnedAway else { return }
        isTurnedAway = true
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(problem.wholeResponse)).assumeIsolated().whenComplete { _ in
            channel.close(mode: .output, promise: nil)
        }
        channel.eventLoop.scheduleTask(in: Self.patience) { channel.close(promise: nil) }
    }
}
