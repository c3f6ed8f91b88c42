import ParleyWire
import RedisClient

/// Revoked logins in Redis: a key that outlives every access token of the login, and a notice to its sockets.
struct RedisLoginRevocations: LoginRevocations {
    let redis: RedisClient

    /// Seconds; far beyond an access token's lifetime, so that a socket whose notice was lost sees it at one of its
    /// position checks.
    private static let memory = 86_400

    func revoke(user: UserID, login: LoginID) async throws {
        let key = Keys.revoked(user, login.description)
        _ = try await redis.send("SET", key, "1", "EX", "\(Self.memory)", repeatable: true)
        let notice = UserNotice.revoked(login: login.description)
        _ = try await redis.send("PUBLISH", Keys.channel(user), notice.payload, repeatable: true)
    }

    func isRevoked(user: UserID, login: LoginID) async throws -> Bool {
        try await redis.send("EXISTS", Keys.revoked(user, login.description), repeatable: true).integer == 1
    }
}
