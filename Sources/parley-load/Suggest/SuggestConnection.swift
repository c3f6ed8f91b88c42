import NIOCore

/// A connection that has one request at a time on its way.
final class SuggestConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let driver: SuggestDriver
    private var context: ChannelHandlerContext?
    private var received = ByteBuffer()
    /// When the request that is on its way was due; nil for none.
    private(set) var due: Int64?

    init(driver: SuggestDriver) { self.driver = driver }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func send(_ request: ByteBuffer, due: Int64) {
        self.due = due
        context?.writeAndFlush(wrapOutboundOut(request), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        if received.readableBytes > 0 {
            received.writeBuffer(&bytes)
            bytes = received
        }
        guard let (status, length) = Self.answer(bytes) else {
            received = bytes
            return
        }
        received = ByteBuffer()
        guard let due, length == bytes.readableBytes else { return driver.broke(self) }
        self.due = nil
        driver.answered(self, status: status, due: due)
    }

    func channelInactive(context: ChannelHandlerContext) { driver.broke(self) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    /// The status of an answer and how many bytes it has; nil while some are to come.
    private static func answer(_ bytes: ByteBuffer) -> (status: Int, length: Int)? {
        bytes.withUnsafeReadableBytes { bytes in
            guard bytes.count > 12 else { return nil }
            let status = bytes[9..<12].reduce(0) { $0 * 10 + Int($1 &- 0x30) }
            var at = 12
            var length = 0
            while at + 3 < bytes.count {
                guard bytes[at] == 0x0D else {
                    at += 1
                    continue
                }
                if bytes[at + 2] == 0x0D {
                    let whole = at + 4 + length
                    return bytes.count >= whole ? (status, whole) : nil
                }
                if let found = contentLength(bytes, at + 2) { length = found }
                at += 2
            }
            return nil
        }
    }

    private static let name = Array("content-length:".utf8)

    private static func contentLength(_ bytes: UnsafeRawBufferPointer, _ start: Int) -> Int? {
        guard start + name.count < bytes.count else { return nil }
        for (offset, letter) in name.enumerated() where bytes[start + offset] | 0x20 != letter | 0x20 { return nil }
        var (at, length) = (start + name.count, 0)
        while at < bytes.count, bytes[at] != 0x0D {
            if 0x30...0x39 ~= bytes[at] { length = length * 10 + Int(bytes[at] - 0x30) }
            at += 1
        }
        return length
    }
}
