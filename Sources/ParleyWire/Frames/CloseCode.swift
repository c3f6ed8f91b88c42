/// Every close code that the server sends, RFC 6455's own and the protocol's.
public enum CloseCode: UInt16, Hashable, Sendable, CaseIterable {
    /// Ends presence at once when it comes from the client.
    case normal = 1000
    /// A page went away or reloads: presence keeps its grace.
    case goingAway = 1001
    /// A violation of RFC 6455.
    case protocolError = 1002
    /// A binary message: the protocol has none.
    case unsupportedData = 1003
    /// Text that is not UTF-8.
    case invalidPayload = 1007
    /// A message over the limit that `ready` states as `max_frame`.
    case messageTooBig = 1009
    /// The gateway goes away. Resume at once, at the URL of `goaway` if there was one.
    case drain = 4000
    /// Two pings went unanswered. Resume at once.
    case heartbeatLost = 4001
    /// The client read too slowly. Resume at once.
    case slow = 4002
    /// A newer socket of the same device took over. Resume only if this one should be the one.
    case replaced = 4003
    /// The gateway is full. Back off before resuming.
    case overloaded = 4100
    /// Too many connections or frames. Back off before resuming.
    case rateLimited = 4101
    /// The queue may have lost history. Connect and resync.
    case epochChanged = 4200
    /// The first frame was not a valid `auth`, came too late, or the login was revoked. Refresh the token once,
    /// else sign in.
    case unauthorized = 4500
    /// Ten bad frames. Do not come back with this client.
    case badFrames = 4501
    /// The user has as many devices as may be. Come back when one of them was signed out.
    case tooManyDevices = 4502
    /// The user is banned. Do not come back.
    case banned = 4503

    /// The reason text of the close frame.
    public var reason: String {
        switch self {
        case .normal: ""
        case .goingAway: "going away"
        case .protocolError: "protocol error"
        case .unsupportedData: "binary frames are not accepted"
        case .invalidPayload: "text is not UTF-8"
        case .messageTooBig: "message too big"
        case .drain: "drain"
        case .heartbeatLost: "heartbeat lost"
        case .slow: "slow"
        case .replaced: "replaced by the same device"
        case .overloaded: "overloaded"
        case .rateLimited: "rate limited"
        case .epochChanged: "epoch changed"
        case .unauthorized: "unauthorized"
        case .badFrames: "bad frames"
        case .tooManyDevices: "too many devices"
        case .banned: "banned"
        }
    }

    /// What a client does after a close.
    public enum Reaction: Hashable, Sendable {
        case resume, backOff, resync, stop
    }

    /// The reaction to a close code, also to ones this version does not name; `nil` stands for a connection that
    /// ended without a close frame. Codes outside the protocol's ranges back off.
    public static func reaction(to code: UInt16?) -> Reaction {
        switch code ?? 0 {
        case 4000..<4100: .resume
        case 4200: .resync
        case 4500..<5000: .stop
        default: .backOff
        }
    }
}
