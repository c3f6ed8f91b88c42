/// What clients do, as far as it is limited, shed and counted. The names stand in settings, metrics and Redis keys.
public enum Activity: String, Sendable, Hashable, CaseIterable {
    /// A TCP connection, and the upgrade of one to a socket.
    case connection, handshake
    /// A socket's `auth`.
    case session
    case send
    /// Edits and deletions.
    case change
    case typing
    /// `read`, on a socket and over HTTP.
    case read
    /// `watch` and `active`.
    case watch
    /// A socket's `sync`, and polls.
    case sync
    /// Pages of messages, the list of conversations, one of them.
    case history
    /// `GET /v1/users?prefix=`
    case search
    /// `POST /v1/searches`
    case submit
    /// Asking somebody to be friends.
    case friend
    case signup, login
    /// Sign-ins to one account, wherever from; and those from one address to one account.
    case account, guess
    case token
    /// A password that somebody who is signed in gives once more.
    case password
    /// `GET /v1/suggest`, and on a socket.
    case suggest
    /// Every other request.
    case request
    /// Every other frame.
    case frame
}
