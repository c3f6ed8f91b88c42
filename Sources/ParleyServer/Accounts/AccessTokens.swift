import Crypto
public import ParleyWire

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Who a valid access token speaks for.
public struct Identity: Sendable, Hashable {
    public let user: UserID
    public let login: LoginID
    /// When the token expires, in milliseconds since 1970.
    public let expiresAt: Int64
}

/// Signs and verifies access tokens: JWTs (RFC 7519) under HS256, and under nothing else.
///
/// Only tokens that Parley itself signed exist, so a token's first part must be, byte for byte, the header that one of
/// the keys writes. Thereby no header is ever parsed: neither `alg` nor any other field in it can be argued with.
/// Verifying is synchronous and takes a few microseconds, so that it can be done on an event loop.
public struct AccessTokens: Sendable {
    static let issuer = "parley"
    /// The year 5138, in seconds: bounds a claim before it is multiplied.
    private static let latestExpiry: Int64 = 100_000_000_000

    /// Seconds that a token is good for.
    public let lifetime: Int

    private let audience: String
    private let signingKey: SymmetricKey
    private let signingHeader: String
    private let keys: [String: SymmetricKey]
    private let now: @Sendable () -> Int64

    /// - Parameters:
    ///   - audience: the `aud` claim; installations that share keys but no accounts differ in it.
    ///   - lifetime: in seconds.
    ///   - now: milliseconds since 1970.
    public init(
        keys: TokenKeys,
        audience: String = "parley",
        lifetime: Int = 600,
        now: @escaping @Sendable () -> Int64 = WallClock.milliseconds
    ) {
        self.audience = audience
        self.lifetime = lifetime
        self.now = now
        self.keys = Dictionary(uniqueKeysWithValues: keys.keys.map { (Self.header(kid: $0.id), $0.secret) })
        self.signingKey = keys.keys[0].secret
        self.signingHeader = Self.header(kid: keys.keys[0].id)
    }

    public func sign(user: UserID, login: LoginID) throws -> String {
        let issuedAt = now() / 1000
        let claims = Claims(
            iss: Self.issuer,
            aud: audience,
            sub: user.description,
            login: login.description,
            iat: issuedAt,
            exp: issuedAt + Int64(lifetime)
        )
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        return try signed(String(decoding: encoder.encode(claims), as: UTF8.self))
    }

    /// Signs a JSON text as it is.
    func signed(_ claims: String) -> String {
        let content = signingHeader + "." + Base64.url.encode(claims.utf8)
        let code = HMAC<SHA256>.authenticationCode(for: Array(content.utf8), using: signingKey)
        return content + "." + Base64.url.encode(code)
    }

    /// - Returns: nil for a token that is expired, forged, malformed, of another audience or of an unknown key.
    public func verify(_ token: String) -> Identity? {
        guard token.utf8.count <= 2048 else { return nil }
        let parts = token.split(separator: ".", maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count == 3,
            let key = keys[String(parts[0])],
            let code = Base64.url.decode(parts[2]),
            HMAC<SHA256>.isValidAuthenticationCode(
                code,
                authenticating: Array(token.utf8.prefix(parts[0].utf8.count + 1 + parts[1].utf8.count)),
                using: key
            ),
            let payload = Base64.url.decode(parts[1]),
            let claims = try? JSONDecoder().decode(Claims.self, from: Data(payload)),
            claims.iss == Self.issuer, claims.aud == audience, claims.exp > 0, claims.exp < Self.latestExpiry,
            claims.exp * 1000 > now(),
            let user = UserID(claims.sub),
            let login = LoginID(claims.login)
        else { return nil }
        return Identity(user: user, login: login, expiresAt: claims.exp * 1000)
    }

    private struct Claims: Codable {
        let iss: String
        let aud: String
        let sub: String
        let login: String
        let iat: Int64
        let exp: Int64
    }

    private static func header(kid: String) -> String {
        Base64.url.encode(#"{"alg":"HS256","kid":"\#(kid)","typ":"JWT"}"#.utf8)
    }
}
