import NIOCore
import NIOExtras
import NIOHTTP1

/// Stands before NIO's upgrade handler until a connection has become something.
///
/// It ends connections whose first request head is not whole in time. It lets only requests that will become a session
/// ask for an upgrade: NIO's handler loses the head of one that no upgrader takes, and its client would get no answer.
/// The route for `/v1/ws` gives the reason. And it turns away those for whom there is no room now, which has to cost
/// little when thousands come at once.
final class FirstRequestHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart

    private static let patience = TimeAmount.seconds(10)
    /// While the server ends.
    private static let lastPatience = TimeAmount.seconds(1)

    private let services: GatewayServices
    private let gate: ConnectionGate?
    /// For what the connection counts; nil for a proxy's, until it is known whom it is for.
    private(set) var visit: Visit?
    private var deadline: Scheduled<Void>?
    /// The server ends, and what the connection becomes has not heard of it.
    private(set) var isQuiescing = false

    /// - Parameter gate: stands before the decoder; nil where nothing is limited.
    init(services: GatewayServices, visit: Visit?, gate: ConnectionGate?) {
        self.services = services
        self.visit = visit
        self.gate = gate
    }

    func handlerAdded(context: ChannelHandlerContext) {
        wait(Self.patience, context)
    }

    func handlerRemoved(context: ChannelHandlerContext) { deadline?.cancel() }

    private func wait(_ patience: TimeAmount, _ context: ChannelHandlerContext) {
        deadline?.cancel()
        deadline = context.eventLoop.assumeIsolated().scheduleTask(in: patience) { context.close(promise: nil) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ChannelShouldQuiesceEvent {
            isQuiescing = true
            wait(Self.lastPatience, context)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard gate?.isTurnedAway != true else { return }
        guard case .head(var head) = unwrapInboundIn(data), head.headers.contains(name: "upgrade") else {
            return context.fireChannelRead(data)
        }
        if (try? services.checkUpgrade(head)) == nil {
            head.headers.remove(name: "upgrade")
        } else if let gate {
            let channel = context.channel
            let forwarded = head.headers["x-forwarded-for"]
            switch services.admission.handshake(visit, from: .init(channel.remoteAddress), forwarded: forwarded) {
            case .refused(let problem): return gate.turnAway(problem)
            case .welcome(let visit):
                if self.visit == nil { visit?.end(with: channel) }
                self.visit = visit
            }
        }
        context.fireChannelRead(wrapInboundOut(.head(head)))
    }

    /// The connection has become something.
    ///
    /// - Returns: what it was until now; nil if that was known before.
    static func remove(from channel: any Channel) -> FirstRequestHandler? {
        let handlers = channel.pipeline.syncOperations
        guard let handler = try? handlers.handler(type: FirstRequestHandler.self) else { return nil }
        handlers.removeHandler(handler, promise: nil)
        if let gate = handler.gate { handlers.removeHandler(gate, promise: nil) }
        return handler
    }
}
