public import NIOCore

/// Which end decodes: a server takes only masked frames, a client only unmasked ones.
public enum WebSocketRole: Sendable {
    case server, client
}

public enum WebSocketOpcode: UInt8, Hashable, Sendable {
    case continuation = 0
    case text = 1
    case binary = 2
    case close = 8
    case ping = 9
    case pong = 10

    var isControl: Bool { rawValue & 8 != 0 }
}

/// A whole message or control frame, unmasked and with its fragments joined.
public enum WebSocketMessage: Hashable, Sendable {
    /// Valid UTF-8.
    case text(ByteBuffer)
    case binary(ByteBuffer)
    case ping(ByteBuffer)
    case pong(ByteBuffer)
    /// The last message of a connection; the code is nil if the frame was empty.
    case close(code: UInt16?, reason: String)
}

/// What the peer did against RFC 6455, and with which code that ends the connection: 1002, 1007 or 1009.
public struct WebSocketViolation: Error, Hashable, Sendable {
    public var closeCode: CloseCode
    public var message: String

    static func protocolError(_ message: String) -> WebSocketViolation {
        WebSocketViolation(closeCode: .protocolError, message: message)
    }

    static let invalidUTF8 = WebSocketViolation(closeCode: .invalidPayload, message: "text is not UTF-8")
}
