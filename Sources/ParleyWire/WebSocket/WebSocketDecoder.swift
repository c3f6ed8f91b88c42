public import NIOCore

/// Decodes RFC 6455 frames into messages, without extensions.
///
/// Feed what arrives, then call ``next()`` until it returns nil. Payloads are unmasked in place, and a message of
/// one frame is a slice of what was fed: release each before the next call and nothing is copied. After a close
/// frame or a violation the decoder is finished: it drops what is fed and returns nil.
public struct WebSocketDecoder: Sendable {
    public let role: WebSocketRole
    /// Of a whole message, its fragments together, in bytes. A frame beyond it is refused by its header.
    public var maxMessageBytes: Int

    private var input = ByteBuffer()
    private var fragments: (opcode: WebSocketOpcode, payload: ByteBuffer)?
    private var isFinished = false

    public init(role: WebSocketRole, maxMessageBytes: Int = 65_536) {
        self.role = role
        self.maxMessageBytes = maxMessageBytes
    }

    public mutating func feed(_ bytes: ByteBuffer) {
        guard !isFinished, bytes.readableBytes > 0 else { return }
        guard input.readableBytes > 0 else {
            input = bytes
            return
        }
        input.discardReadBytes()
        input.writeImmutableBuffer(bytes)
    }

    /// The next complete message; nil until more is fed.
    public mutating func next() throws(WebSocketViolation) -> WebSocketMessage? {
        do throws(WebSocketViolation) {
            while !isFinished, let header = try nextHeader() {
                guard let payload = take(header) else { return nil }
                if let message = try join(header, payload) { return message }
            }
            return nil
        } catch {
            finish()
            throw error
        }
    }

    private mutating func finish() {
        isFinished = true
        input = ByteBuffer()
        fragments = nil
    }

    /// The header at the front of the input, left in place, checked against the message it would belong to.
    private func nextHeader() throws(WebSocketViolation) -> WebSocketHeader? {
        let parsed = try input.readableBytesSpan.withUnsafeBytes { (bytes) throws(WebSocketViolation) in
            try WebSocketHeader.parse(bytes, role: role)
        }
        guard let header = parsed, !header.opcode.isControl else { return parsed }
        guard (header.opcode == .continuation) == (fragments != nil) else {
            throw .protocolError(
                fragments == nil ? "a continuation continues nothing" : "a new message inside a fragmented one"
            )
        }
        guard header.payloadLength <= maxMessageBytes - (fragments?.payload.readableBytes ?? 0) else {
            throw WebSocketViolation(closeCode: .messageTooBig, message: "over \(maxMessageBytes) bytes")
        }
        return header
    }

    /// Takes a whole frame off the input and unmasks its payload; nil while it is incomplete.
    private mutating func take(_ header: WebSocketHeader) -> ByteBuffer? {
        guard input.readableBytes >= header.length + header.payloadLength else { return nil }
        input.moveReaderIndex(forwardBy: header.length)
        if let mask = header.mask, header.payloadLength > 0 {
            input.withUnsafeMutableReadableBytes { bytes in
                applyWebSocketMask(mask, to: UnsafeMutableRawBufferPointer(rebasing: bytes[..<header.payloadLength]))
            }
        }
        let payload = input.readSlice(length: header.payloadLength)
        // An idle connection holds no buffer.
        if input.readableBytes == 0 { input = ByteBuffer() }
        return payload
    }

    /// What a frame completes; nil for a fragment that is not the last.
    private mutating func join(
        _ header: WebSocketHeader,
        _ payload: ByteBuffer
    ) throws(WebSocketViolation) -> WebSocketMessage? {
        switch header.opcode {
        case .ping: return .ping(payload)
        case .pong: return .pong(payload)
        case .close:
            let message = try Self.close(payload)
            finish()
            return message
        case .text, .binary:
            guard header.isFinal else {
                fragments = (header.opcode, payload)
                return nil
            }
            return try Self.message(header.opcode, payload)
        case .continuation:
            guard let opcode = fragments?.opcode, var whole = fragments?.payload else { return nil }
            // The only reference now, so that it grows in place.
            fragments = nil
            whole.writeImmutableBuffer(payload)
            guard header.isFinal else {
                fragments = (opcode, whole)
                return nil
            }
            return try Self.message(opcode, whole)
        }
    }

    private static func message(
        _ opcode: WebSocketOpcode,
        _ payload: ByteBuffer
    ) throws(WebSocketViolation) -> WebSocketMessage {
        guard opcode == .text else { return .binary(payload) }
        guard isUTF8(payload) else { throw .invalidUTF8 }
        return .text(payload)
    }

    private static func isUTF8(_ bytes: ByteBuffer) -> Bool {
        (try? UTF8Span(validating: bytes.readableBytesUInt8Span)) != nil
    }

    private static func close(_ payload: ByteBuffer) throws(WebSocketViolation) -> WebSocketMessage {
        var payload = payload
        if payload.readableBytes == 0 { return .close(code: nil, reason: "") }
        guard let code = payload.readInteger(as: UInt16.self), mayBeSent(code) else {
            throw .protocolError("a close frame has an invalid code")
        }
        guard isUTF8(payload) else { throw .invalidUTF8 }
        return .close(code: code, reason: String(buffer: payload))
    }

    /// Whether a close code may stand in a frame: those of RFC 6455 and its registry, libraries' and
    /// applications' own; not those that only stand for the absence of a frame.
    private static func mayBeSent(_ code: UInt16) -> Bool {
        switch code {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }
}
