import HTTPTypes
import Hummingbird
import ParleyCore
import ParleyWire

extension Activity {
    /// What a request counts as.
    init(_ request: Request) {
        let path = request.uri.path.split(separator: "/")
        let (what, detail) = (path.count > 1 ? path[1] : "", path.count > 3 ? path[3] : "")
        switch (request.method, what, detail) {
        case (.post, "signup", _): self = .signup
        case (.post, "login", _): self = .login
        case (.post, "token", _): self = .token
        case (.get, "sync", _): self = .sync
        case (.get, "ws", _): self = .handshake
        case (.post, "conversations", "messages"): self = .send
        case (.patch, "conversations", "messages"), (.delete, "conversations", "messages"): self = .change
        case (.post, "conversations", "read"): self = .read
        case (.get, "conversations", _): self = .history
        case (.get, "users", _) where request.uri.queryParameters["prefix"] != nil: self = .search
        case (.post, "searches", _): self = .submit
        case (.get, "suggest", _): self = .suggest
        case (.post, "friends", ""): self = .friend
        case (.put, "me", _), (.delete, "me", _): self = .password
        default: self = .request
        }
    }

    /// What a frame counts as; nil for what costs nothing to answer.
    init?(_ operation: ClientFrame.Operation) {
        switch operation {
        case .auth, .ack, .ping: return nil
        case .send: self = .send
        case .edit, .delete: self = .change
        case .typing: self = .typing
        case .read: self = .read
        case .watch, .active: self = .watch
        case .sync: self = .sync
        case .suggest: self = .suggest
        }
    }

    /// Whether all gateways are asked each time; otherwise one decides, and tells Redis of who is quick.
    var isCostly: Bool {
        switch self {
        case .search, .friend, .password: true
        default: false
        }
    }

    /// When it is given up under load.
    var load: LoadShedder.Load? {
        switch self {
        case .watch: .presence
        case .typing, .read: .typing
        case .history, .search, .submit: .history
        case .signup, .login, .session: .logins
        case .send, .change: .sends
        default: nil
        }
    }
}
