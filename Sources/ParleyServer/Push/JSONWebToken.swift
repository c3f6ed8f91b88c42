import Crypto
import Synchronization

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Makes compact JWTs (RFC 7519) of a header and claims that are JSON already.
enum JSONWebToken {
    static func es256(header: String, claims: String, key: P256.Signing.PrivateKey) throws -> String {
        let content = content(header, claims)
        return try content + "." + Base64.url.encode(key.signature(for: Array(content.utf8)).rawRepresentation)
    }

    /// What is signed.
    static func content(_ header: String, _ claims: String) -> String {
        Base64.url.encode(header.utf8) + "." + Base64.url.encode(claims.utf8)
    }
}

/// Tokens that are good for a while, by whom they are for: made anew when their time is up. Times in milliseconds.
final class TokenCache: Sendable {
    private struct Entry {
        let token: String
        let until: Int64
    }

    /// Who they are for comes from outside: their number is bounded.
    private static let limit = 1000

    private let entries = Mutex<[String: Entry]>([:])

    func token(for name: String, now: Int64, lifetime: Int64, _ make: () throws -> String) rethrows -> String {
        if let known = entries.withLock({ $0[name] }), known.until > now { return known.token }
        let token = try make()
        entries.withLock {
            if $0.count >= Self.limit { $0 = $0.filter { $0.value.until > now } }
            if $0.count >= Self.limit { $0 = [:] }
            $0[name] = Entry(token: token, until: now + lifetime)
        }
        return token
    }

    /// Nobody believes these any more.
    func clear() { entries.withLock { $0 = [:] } }
}
