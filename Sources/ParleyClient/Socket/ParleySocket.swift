public import NIOCore
import NIOPosix
public import ParleyWire

/// A WebSocket to a gateway, confined to its event loop: callbacks, no task, no lock. All members belong to the
/// loop that `connect` was called on.
///
/// What is sent during one turn of the loop leaves in one write. Pings are answered here.
public final class ParleySocket {
    public typealias TextHandler = (ByteBuffer) -> Void
    public typealias FrameHandler = (ServerFrame) -> Void
    /// Why a socket ended: the peer's close code, nil where the connection just broke, and the reason with it.
    public typealias CloseHandler = (_ code: UInt16?, _ reason: String) -> Void

    public let eventLoop: any EventLoop
    /// Frames as they come. A frame that does not decode closes the socket with 1002.
    public var onFrame: FrameHandler?
    /// Takes the undecoded text instead of `onFrame`, for those who read only a few fields of it.
    public var onText: TextHandler?
    /// Called once, after the last frame.
    public var onClose: CloseHandler?
    /// How many of the gateway's pings this socket answered.
    public private(set) var pingsAnswered = 0
    public private(set) var isOpen = true
    /// Bytes of WebSocket frames so far, headers included.
    public private(set) var bytesReceived = 0
    public private(set) var bytesSent = 0

    private let channel: any Channel
    private var decoder = WebSocketDecoder(role: .client, maxMessageBytes: 1 << 20)
    private var outgoing = ByteBuffer()
    private var isFlushScheduled = false
    private var peerClose: (code: UInt16?, reason: String)?
    private var generator = SystemRandomNumberGenerator()

    init(channel: any Channel) {
        self.channel = channel
        eventLoop = channel.eventLoop
    }

    /// Sends a frame at the end of this turn of the loop. After the end it is dropped.
    public func send(_ frame: ClientFrame) {
        guard isOpen else { return }
        WebSocketFrame.write(frame, mask: generator.next(), into: &outgoing)
        scheduleFlush()
    }

    /// As ``send(_:)``, the frame's JSON written straight into the socket's own buffer.
    public func sendText(_ body: (inout ByteBuffer) -> Void) {
        guard isOpen else { return }
        WebSocketFrame.writeText(mask: generator.next(), into: &outgoing, body)
        scheduleFlush()
    }

    /// Sends a close frame and ends the connection once the gateway has answered it, or after a second.
    public func close(_ code: CloseCode = .normal) {
        guard isOpen else { return }
        WebSocketFrame.writeClose(code, mask: generator.next(), into: &outgoing)
        flush()
        isOpen = false
        eventLoop.assumeIsolated().scheduleTask(in: .seconds(1)) { self.channel.close(promise: nil) }
    }

    /// Ends the connection without a close frame, as a broken network does.
    public func abort() {
        isOpen = false
        channel.close(promise: nil)
    }

    private func scheduleFlush() {
        guard !isFlushScheduled else { return }
        isFlushScheduled = true
        eventLoop.assumeIsolated().execute { self.flush() }
    }

    private func flush() {
        isFlushScheduled = false
        guard outgoing.readableBytes > 0 else { return }
        bytesSent += outgoing.readableBytes
        channel.writeAndFlush(outgoing, promise: nil)
        // An idle socket holds no buffer.
        outgoing = ByteBuffer()
    }

    func received(_ bytes: ByteBuffer) {
        bytesReceived += bytes.readableBytes
        decoder.feed(bytes)
        do throws(WebSocketViolation) {
            while let message = try decoder.next() { handle(message) }
        } catch {
            end(error.closeCode, error.message)
        }
    }

    private func handle(_ message: WebSocketMessage) {
        switch message {
        case .text(let text):
            guard isOpen else { return }
            if let onText { return onText(text) }
            do throws(FrameError) {
                onFrame?(try ServerFrame.decode(text))
            } catch {
                end(.protocolError, error.message)
            }
        case .binary:
            end(.unsupportedData, CloseCode.unsupportedData.reason)
        case .ping(let payload):
            guard isOpen else { return }
            pingsAnswered += 1
            WebSocketFrame.write(.pong, payload, mask: generator.next(), into: &outgoing)
            scheduleFlush()
        case .pong:
            break
        case .close(let code, let reason):
            peerClose = (code, reason)
            if isOpen { WebSocketFrame.write(.close, mask: generator.next(), into: &outgoing) }
            flush()
            abort()
        }
    }

    /// Ends the connection for what the gateway did wrong.
    private func end(_ code: CloseCode, _ reason: String) {
        guard isOpen else { return }
        peerClose = (nil, reason)
        WebSocketFrame.writeClose(code, reason: reason, mask: generator.next(), into: &outgoing)
        flush()
        abort()
    }

    func ended(_ reason: String) {
        isOpen = false
        let handler = onClose
        // They often hold the socket's owner, and with it the socket.
        (onClose, onFrame, onText) = (nil, nil, nil)
        handler?(peerClose?.code, peerClose?.reason ?? reason)
    }
}

@available(*, unavailable)
extension ParleySocket: Sendable {}
