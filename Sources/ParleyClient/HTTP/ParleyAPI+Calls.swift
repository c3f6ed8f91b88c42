import NIOCore
import NIOHTTP1
public import ParleyWire

/// A sign-in: the user and a login's tokens.
public struct Account: Sendable, Hashable, Decodable {
    public struct Person: Sendable, Hashable, Decodable {
        public var id: UserID
        public var username: String
    }

    public var person: Person
    public var accessToken: String
    public var refreshToken: String
    /// The access token's lifetime from its issue, in seconds.
    public var expiresIn: Int

    public var user: UserID { person.id }

    enum CodingKeys: String, CodingKey {
        case person = "user"
        case accessToken = "access_token"
        case refreshToken = "refresh_token"
        case expiresIn = "expires_in"
    }
}

public struct GatewayEntry: Sendable, Hashable, Decodable {
    public var url: String
    public var zone: String?
    public var load: Double?
}

public struct HistoryMessage: Sendable, Hashable, Decodable {
    public var mid: MessageID
    public var seq: Int64
    public var from: UserID?
    /// Milliseconds since 1970.
    public var ts: Int64
    /// Nil for entries that are not messages and for deleted ones.
    public var body: String?
    /// Nil or `message` for a message.
    public var type: String?
}

public struct HistoryPage: Sendable, Hashable, Decodable {
    public var messages: [HistoryMessage]
    public var more: Bool
}

public struct ConversationEntry: Sendable, Hashable, Decodable {
    public struct Last: Sendable, Hashable, Decodable {
        public var mid: MessageID
        public var seq: Int64
        public var body: String?
    }

    public var id: ConversationID
    public var kind: String
    public var members: [UserID]
    public var last: Last?
    public var unread: Int64
    public var readSeq: Int64

    enum CodingKeys: String, CodingKey {
        case id, kind, members, last, unread
        case readSeq = "read_seq"
    }
}

/// Which page of a history.
public enum HistoryPosition: Sendable, Hashable {
    /// The newest messages, newest first.
    case newest
    /// Below this message, newest first.
    case before(MessageID)
    /// Above this message, oldest first.
    case after(MessageID)
    /// Above this seq, oldest first.
    case afterSeq(Int64)

    var query: String {
        switch self {
        case .newest: ""
        case .before(let mid): "&before=\(mid)"
        case .after(let mid): "&after=\(mid)"
        case .afterSeq(let seq): "&after_seq=\(seq)"
        }
    }
}

extension ParleyAPI {
    public func signUp(
        username: String,
        password: String,
        displayName: String
    ) async throws(ClientError) -> Account {
        let body = Self.json {
            $0.writeJSONField("username", username)
            $0.writeJSONField("password", password)
            $0.writeJSONField("display_name", displayName)
        }
        return try await call(.POST, "/v1/signup", json: body)
    }

    public func login(username: String, password: String) async throws(ClientError) -> Account {
        let body = Self.json {
            $0.writeJSONField("username", username)
            $0.writeJSONField("password", password)
        }
        return try await call(.POST, "/v1/login", json: body)
    }

    /// Rotates a refresh token: the one given is spent.
    public func refresh(_ refreshToken: String) async throws(ClientError) -> Account {
        try await call(.POST, "/v1/token", json: Self.json { $0.writeJSONField("refresh_token", refreshToken) })
    }

    /// The gateways that service discovery recommends, best first.
    public func gateways() async throws(ClientError) -> [GatewayEntry] {
        struct Answer: Decodable { var gateways: [GatewayEntry] }
        return try await call(.GET, "/v1/gateways", as: Answer.self).gateways
    }

    public func conversations(token: String) async throws(ClientError) -> [ConversationEntry] {
        struct Answer: Decodable { var conversations: [ConversationEntry] }
        return try await call(.GET, "/v1/conversations?limit=200", as: Answer.self, token: token).conversations
    }

    /// Makes a group of the caller and others. A repeat of the key gets the group that it made first.
    /// - Parameter key: names the wish, as a `cid` names a send.
    public func createGroup(
        title: String,
        members: [UserID],
        key: ClientMessageID,
        token: String
    ) async throws(ClientError) -> ConversationID {
        struct Answer: Decodable { var id: ConversationID }
        let body = Self.json { json in
            json.writeJSONField("title", title)
            json.writeJSONKey("members")
            json.beginJSONArray()
            for member in members {
                json.beginJSONElement()
                json.writeJSONIdentifier(member)
            }
            json.endJSONArray()
        }
        let headers = [("idempotency-key", key.description)]
        return try await call(.POST, "/v1/conversations", as: Answer.self, token: token, json: body, headers: headers)
            .id
    }

    /// - Parameter limit: 1–200 messages.
    public func history(
        of conversation: ConversationID,
        at position: HistoryPosition = .newest,
        limit: Int = 200,
        token: String
    ) async throws(ClientError) -> HistoryPage {
        try await call(
            .GET,
            "/v1/conversations/\(conversation)/messages?limit=\(limit)\(position.query)",
            token: token
        )
    }

    private static func json(_ fields: (inout ByteBuffer) -> Void) -> ByteBuffer {
        var body = ByteBuffer()
        body.beginJSONObject()
        fields(&body)
        body.endJSONObject()
        return body
    }
}

/// The two default ways to decode a MessageID contend, its own text form and its raw value; on the wire it is text.
extension KeyedDecodingContainer {
    func decode(_ type: MessageID.Type, forKey key: Key) throws -> MessageID {
        guard let mid = MessageID(try decode(String.self, forKey: key)) else {
            throw DecodingError.dataCorruptedError(forKey: key, in: self, debugDescription: "not a message id")
        }
        return mid
    }
}
