import NIOCore

/// Decodes replies and tells its owner, on the channel's event loop.
final class RedisChannelHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let decoder = RESPDecoder()
    private let onReply: (RESPValue) -> Void
    private let onBurstEnd: () -> Void
    private var onClose: ((RedisError) -> Void)?
    private var reason = RedisError(.connectionLost, outcome: .unknown, "the server closed the connection")

    /// - Parameters:
    ///   - onReply: called for each reply, in order.
    ///   - onBurstEnd: called when all replies that arrived together have been handed over.
    ///   - onClose: called once, after the last reply.
    init(
        onReply: @escaping (RESPValue) -> Void,
        onBurstEnd: @escaping () -> Void = {},
        onClose: @escaping (RedisError) -> Void
    ) {
        self.onReply = onReply
        self.onBurstEnd = onBurstEnd
        self.onClose = onClose
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        do {
            try decoder.feed(unwrapInboundIn(data))
            while let value = try decoder.next() { onReply(value) }
        } catch {
            fail(context, error)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) { onBurstEnd() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(context, RedisError(.connectionLost, outcome: .unknown, "\(error)"))
    }

    func channelInactive(context: ChannelHandlerContext) {
        onClose?(reason)
        onClose = nil
    }

    private func fail(_ context: ChannelHandlerContext, _ error: RedisError) {
        reason = error
        context.close(promise: nil)
    }
}
