import Foundation
import Logging
import ParleyWire
import PostgresClient

/// A user whose first access token is to be had for the refresh token, by POST /v1/token.
struct SeededAccount: Sendable {
    let user: UserID
    let refreshToken: String
}

/// Writes users and a sign-in of each into a Parley's database, a thousand in a statement: as good as signed up, but
/// no password is hashed. None has a password: where its hash would stand is `!`, which no password matches, as in
/// /etc/shadow.
struct Seeder: Sendable {
    static let batch = 1_000
    /// A refresh token's bytes: what the login's tokens share, then what is its own.
    private static let tokenLength = (family: 16, secret: 32)

    /// PostgreSQL's URL.
    let database: String

    /// New users `<prefix>-0`, `<prefix>-1` and so on.
    ///
    /// - Parameter prefix: of `[a-z0-9_.-]`; must not have been used before.
    /// - Throws: `PostgresError`; earlier thousands are then kept.
    func accounts(count: Int, prefix: String) async throws -> [SeededAccount] {
        try await withPool { pool in
            var accounts: [SeededAccount] = []
            for first in stride(from: 0, to: count, by: Self.batch) {
                accounts += try await Self.write(first..<min(first + Self.batch, count), prefix, to: pool)
            }
            return accounts
        }
    }

    /// Makes friends of the two of each pair.
    func befriend(_ pairs: [(UserID, UserID)]) async throws {
        try await withPool { pool in
            for first in stride(from: 0, to: pairs.count, by: 10 * Self.batch) {
                let some = pairs[first..<min(first + 10 * Self.batch, pairs.count)]
                _ = try await pool.query(
                    """
                    INSERT INTO friendships (lo_id, hi_id, since)
                    SELECT lo, hi, now_ms() FROM unnest(\(some.map { min($0, $1).description })::text[],
                                                        \(some.map { max($0, $1).description })::text[]) AS pair (lo, hi)
                    """
                )
            }
        }
    }

    private func withPool<Result>(_ body: (PostgresPool) async throws -> Result) async throws -> Result {
        let pool = PostgresPool(
            configuration: PostgresConfiguration(url: database, connections: 1, applicationName: "parley-load"),
            logger: Logger(label: "parley-load", factory: { _ in SwiftLogNoOpLogHandler() })
        )
        let outcome: Swift.Result<Result, any Error>
        do { outcome = .success(try await body(pool)) } catch { outcome = .failure(error) }
        await pool.shutdown()
        return try outcome.get()
    }

    private static func write(
        _ numbers: Range<Int>,
        _ prefix: String,
        to pool: PostgresPool
    ) async throws -> [SeededAccount] {
        let users = numbers.map { _ in UserID.random() }
        // A login's id follows the grammar of a user's.
        let logins = numbers.map { _ in UserID.random().description }
        let tokens = numbers.map { _ in
            (0..<tokenLength.family + tokenLength.secret).map { _ in UInt8.random(in: 0...255) }
        }
        // The server knows a token by SHA-256 of its first part, and checks SHA-256 of the whole.
        _ = try await pool.query(
            """
            WITH seeded AS (
                SELECT * FROM unnest(\(users.map(\.description)), \(numbers.map { "\(prefix)-\($0)" }), \(logins),
                                     \(tokens)) AS seeded (id, username, login, token)
            ), people AS (
                INSERT INTO users (id, username, display_name, display_key, password_hash)
                SELECT id, username, username, username, '!' FROM seeded
            )
            INSERT INTO logins (id, user_id, family_hash, token_hash)
            SELECT login, id, sha256(substring(token FROM 1 FOR \(tokenLength.family)::int)), sha256(token) FROM seeded
            """
        )
        return zip(users, tokens).map { SeededAccount(user: $0, refreshToken: base64url($1)) }
    }

    /// Without padding: the length is a multiple of three.
    private static func base64url(_ bytes: [UInt8]) -> String {
        String(
            Data(bytes).base64EncodedString().map { character -> Character in
                switch character {
                case "+": "-"
                case "/": "_"
                default: character
                }
            }
        )
    }
}
