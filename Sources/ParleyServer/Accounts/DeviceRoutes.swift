import Hummingbird
import ParleyWire
import RedisClient

/// Where a user is signed in, and on which devices. All need a sign-in.
struct DeviceRoutes {
    let accounts: Accounts
    let redis: RedisClient

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        let signedIn = router.group().add(middleware: accounts.authenticator)
        signedIn.get("/v1/devices") { _, context in
            let identity = try context.requireIdentity()
            let logins = try await accounts.store.logins(of: identity.user)
            let devices = try await KnownDevice.all(of: identity.user, in: redis)
            return Devices(
                devices: logins.map { login in
                    Devices.Entry(
                        login,
                        devices.filter { $0.login == login.id.description },
                        isCurrent: login.id == identity.login
                    )
                }
            )
        }
        signedIn.delete("/v1/devices/:id") { _, context in
            let user = try context.requireIdentity().user
            guard let login = LoginID(try context.parameters.require("id")),
                try await accounts.store.end(login, of: user, revoking: accounts.revocations)
            else { throw HTTPProblem(.notFound, "There is no such sign-in.") }
            return Response(status: .noContent)
        }
    }

    private struct Devices: ResponseEncodable {
        struct Entry: Encodable {
            let id: String
            let device: String?
            let created_at: Int64
            let last_used_at: Int64
            let last_seen: Int64
            let connected: Bool
            let current: Bool
            let devices: [KnownDevice]

            init(_ login: Login, _ known: [KnownDevice], isCurrent: Bool) {
                id = login.id.description
                device = login.device
                created_at = login.createdAt
                last_used_at = login.lastUsedAt
                last_seen = known.map(\.lastSeen).reduce(login.lastUsedAt, max)
                connected = known.contains(where: \.isConnected)
                current = isCurrent
                devices = known
            }
        }

        let devices: [Entry]
    }
}

/// A device that keeps a place in its user's sync queue.
struct KnownDevice: Sendable, Equatable, Encodable {
    /// As its sockets and polls call it.
    let name: String
    /// That it came with last.
    let login: String
    /// Milliseconds since 1970; of a connected one up to some minutes ago.
    let lastSeen: Int64
    /// There is a socket, or was when its gateway was lost a moment ago.
    let isConnected: Bool

    enum CodingKeys: String, CodingKey {
        case name
        case lastSeen = "last_seen"
        case isConnected = "connected"
    }

    /// The one heard of last first.
    static func all(of user: UserID, in redis: RedisClient) async throws -> [KnownDevice] {
        let call = RedisFunctions.call("devices", keys: [Keys.user(user)], [], readOnly: true)
        let parts = try await redis.send(call, repeatable: true).array ?? []
        return stride(from: 0, to: parts.count - 3, by: 4).compactMap { index in
            guard let name = parts[index].string, let login = parts[index + 1].string,
                let lastSeen = parts[index + 2].integer, let isConnected = parts[index + 3].integer
            else { return nil }
            return KnownDevice(name: name, login: login, lastSeen: lastSeen, isConnected: isConnected == 1)
        }.sorted { $0.lastSeen > $1.lastSeen }
    }
}
