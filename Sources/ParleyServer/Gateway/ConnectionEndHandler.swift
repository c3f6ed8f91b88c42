import NIOCore
import NIOExtras
import NIOHTTP1

/// Tells a request that waits when its connection ends: the client leaves, or the server drains. Without it, nobody would
/// notice before something is written.
final class ConnectionEndHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart

    private(set) var isEnding = false
    /// Runs once, on the event loop.
    var onEnd: (() -> Void)?

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case ChannelEvent.inputClosed, is ChannelShouldQuiesceEvent: end()
        default: break
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        end()
        context.fireChannelInactive()
    }

    private func end() {
        isEnding = true
        onEnd?()
        onEnd = nil
    }
}
