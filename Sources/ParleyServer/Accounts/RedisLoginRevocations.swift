import ParleyWire
import RedisClient

/// Revoked logins in Redis: a key that outlives every access token of the login, a notice to its sockets, and the end
/// of its devices' places in the sync queue.
struct RedisLoginRevocations: LoginRevocations {
    let redis: RedisClient

    /// Seconds; far beyond an access token's lifetime, so that a socket whose notice was lost sees it at one of its
    /// position checks.
    private static let memory = 86_400

    func revoke(user: UserID, login: LoginID) async throws {
        let command = RedisFunctions.call(
            "revoke",
            keys: [Keys.epoch, Keys.queue(user), Keys.user(user), Keys.revoked(user, login.description)],
            [user.description, login.description, "\(Self.memory)"]
        )
        _ = try await redis.send(command, repeatable: true)
    }

    func isRevoked(user: UserID, login: LoginID) async throws -> Bool {
        try await redis.send("EXISTS", Keys.revoked(user, login.description), repeatable: true).integer == 1
    }
}
