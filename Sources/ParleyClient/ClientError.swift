public import ParleyWire

/// What went wrong on the way to a gateway or was refused by it.
public struct ClientError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: Hashable, Sendable {
        /// Not a base URL of the form `http://host[:port]`.
        case invalidURL
        /// No connection could be made.
        case connectionFailed
        /// The connection ended before the answer: whether the request was carried out is unknown.
        case connectionClosed
        /// No answer within the time allowed: whether the request was carried out is unknown.
        case timedOut
        /// The gateway refused the WebSocket upgrade, or answered it wrongly.
        case handshakeFailed
        /// An answer that does not follow the protocol.
        case badAnswer
        /// The gateway answered with an error; nil for a status without a code of the protocol.
        case refused(ErrorCode?)
        /// The session was closed, by this side or for good by the other.
        case closed
    }

    public var code: Code
    public var message: String
    /// How long to wait before a repeat, where the gateway says so.
    public var retryMilliseconds: Int64?

    public init(_ code: Code, _ message: String, retryMilliseconds: Int64? = nil) {
        self.code = code
        self.message = message
        self.retryMilliseconds = retryMilliseconds
    }

    public var description: String { message }

    /// The gateway has judged the request: another one would answer the same. One that serves sockets alone knows no
    /// path of HTTP, and has judged nothing.
    var isRefusal: Bool {
        switch code {
        case .refused(.notFound): false
        case .refused: true
        default: false
        }
    }
}
