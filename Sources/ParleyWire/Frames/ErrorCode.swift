/// Every error code that a client can see, on the socket and over HTTP, and what the client should do about it.
public enum ErrorCode: String, Hashable, Sendable, CaseIterable, Codable {
    /// Not JSON, an unknown operation, a missing field or one of the wrong type. A client's bug: do not repeat.
    /// The tenth on a socket closes it with 4501.
    case badFrame = "bad_frame"
    /// No valid token. Refresh it once and repeat, else sign in again.
    case unauthorized
    /// The user may not do this (blocked, or no friend where only friends may write). Tell the user; do not repeat.
    case forbidden
    /// The user was a member of this conversation and no longer is. Show it as left; do not repeat.
    case notMember = "not_member"
    /// No such thing, or nothing that this user may know of. Do not repeat.
    case notFound = "not_found"
    /// A body over 16,384 bytes, data over 4 KiB, a group over its limit of members, one friend too many, or a request
    /// over its own limit. Shorten it; do not repeat as it is.
    case tooLarge = "too_large"
    /// Too many requests. Repeat after `retry_ms`, with the same cid.
    case rateLimited = "rate_limited"
    /// The service sheds load. Repeat after `retry_ms` with backoff, with the same cid.
    case overloaded
    /// A store is away, and the outcome is unknown. Repeat after `retry_ms`, with the same cid.
    case unavailable
    /// Events after the cursor are no longer all there. Resync from history.
    case staleCursor = "stale_cursor"
    /// The same cid or key came before with other content. A new send needs a new cid.
    case conflict
    /// Well formed, but with a value that is not allowed. Correct the value; do not repeat as it is.
    case invalid

    /// The status of an HTTP answer with this code.
    public var httpStatus: Int {
        switch self {
        case .badFrame: 400
        case .unauthorized: 401
        case .forbidden, .notMember: 403
        case .notFound: 404
        case .conflict: 409
        case .staleCursor: 410
        case .tooLarge: 413
        case .invalid: 422
        case .rateLimited: 429
        case .overloaded, .unavailable: 503
        }
    }
}
