import NIOHTTP1

/// A sign-in and the devices that came with it.
public struct SignIn: Sendable, Hashable, Decodable {
    /// A device that keeps a place in the sync queue.
    public struct Device: Sendable, Hashable, Decodable {
        public var name: String
        /// Milliseconds since 1970; of a connected one up to some minutes ago.
        public var lastSeen: Int64
        public var connected: Bool

        enum CodingKeys: String, CodingKey {
            case name, connected
            case lastSeen = "last_seen"
        }
    }

    public var id: String
    /// The name given at login.
    public var device: String?
    // Milliseconds since 1970.
    public var createdAt: Int64
    /// When its tokens were last made.
    public var lastUsedAt: Int64
    public var lastSeen: Int64
    public var connected: Bool
    /// Whether it is the one that asks.
    public var current: Bool
    public var devices: [Device]

    enum CodingKeys: String, CodingKey {
        case id, device, connected, current, devices
        case createdAt = "created_at"
        case lastUsedAt = "last_used_at"
        case lastSeen = "last_seen"
    }
}

extension ParleyAPI {
    /// Where the user is signed in.
    public func signIns(token: String) async throws(ClientError) -> [SignIn] {
        struct Answer: Decodable { var devices: [SignIn] }
        return try await call(.GET, "/v1/devices", as: Answer.self, token: token).devices
    }

    /// Ends a sign-in: its tokens are refused, its sockets close, its devices hold the queue no more.
    public func signOut(_ id: String, token: String) async throws(ClientError) {
        try await accepted(.DELETE, "/v1/devices/\(id)", token: token)
    }

    /// Ends the sign-in of this token.
    public func logout(token: String) async throws(ClientError) {
        try await accepted(.POST, "/v1/logout", token: token)
    }
}
