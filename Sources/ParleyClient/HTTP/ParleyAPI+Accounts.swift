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
    /// - Parameter zone: whose gateways come before all others; of letters, digits, `-`, `.` and `_`.
    public func gateways(zone: String? = nil) async throws(ClientError) -> [GatewayEntry] {
        struct Answer: Decodable { var gateways: [GatewayEntry] }
        let query = zone.map { "?zone=\($0)" } ?? ""
        return try await call(.GET, "/v1/gateways" + query, as: Answer.self).gateways
    }
}
