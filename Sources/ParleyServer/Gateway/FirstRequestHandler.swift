import NIOCore
import NIOHTTP1

/// Stands before NIO's upgrade handler until a connection has become something.
///
/// It ends connections whose first request head is not whole in time. And it lets only requests that will become a
/// session ask for an upgrade: NIO's handler loses the head of one that no upgrader takes, and its client would get no
/// answer. The route for `/v1/ws` gives the reason.
final class FirstRequestHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart

    private static let patience = TimeAmount.seconds(10)

    private let services: GatewayServices
    private var deadline: Scheduled<Void>?

    init(services: GatewayServices) { self.services = services }

    func handlerAdded(context: ChannelHandlerContext) {
        deadline = context.eventLoop.assumeIsolated().scheduleTask(in: Self.patience) { context.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { deadline?.cancel() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(var head) = unwrapInboundIn(data), head.headers.contains(name: "upgrade") else {
            return context.fireChannelRead(data)
        }
        if (try? services.checkUpgrade(head)) == nil { head.headers.remove(name: "upgrade") }
        context.fireChannelRead(wrapInboundOut(.head(head)))
    }

    static func remove(from channel: any Channel) {
        let handlers = channel.pipeline.syncOperations
        guard let context = try? handlers.context(handlerType: FirstRequestHandler.self) else { return }
        handlers.removeHandler(context: context, promise: nil)
    }
}
