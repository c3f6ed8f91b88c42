import Crypto

/// The key by which push services know this deployment (RFC 8292). Browsers' subscriptions are bound to it.
public struct VAPIDKey: Sendable {
    let key: P256.Signing.PrivateKey

    public init() { key = P256.Signing.PrivateKey() }

    /// - Parameter text: the 32 bytes of the private key in base64url, as `parley push vapid` writes them.
    /// - Throws: `Settings.Problem`.
    init(text: String) throws(Settings.Problem) {
        let digits = text.filter { !$0.isWhitespace }
        guard let bytes = Base64.url.decode(digits), let key = try? P256.Signing.PrivateKey(rawRepresentation: bytes)
        else {
            throw Settings.Problem("expected what `parley push vapid` writes: a private key of P-256 in base64url")
        }
        self.key = key
    }

    /// To be kept secret.
    public var text: String { Base64.url.encode(key.rawRepresentation) }

    /// As pages give it to `pushManager.subscribe` (`applicationServerKey`).
    public var publicText: String { Base64.url.encode(key.publicKey.x963Representation) }
}
