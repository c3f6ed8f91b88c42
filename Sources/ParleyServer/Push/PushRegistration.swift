import ParleyWire

/// A service that brings something to a device which is not connected.
enum PushProviderName: String, Sendable, CaseIterable {
    case webpush, webhook
}

/// A device that wants to be told of messages.
struct PushRegistration: Sendable, Hashable {
    let id: Int64
    let user: UserID
    let device: String
    let address: PushAddress
    /// Nothing of a message but who sent it passes the provider.
    let hidesContent: Bool
    /// Milliseconds since 1970.
    let registeredAt: Int64
}

/// What a provider knows a device by.
struct PushAddress: Sendable, Hashable {
    let provider: PushProviderName
    /// Of Web Push the endpoint.
    let token: String
    /// Of Web Push alone.
    var keys: WebPushKeys?
}

/// What a browser gave to encrypt for it with (RFC 8291).
struct WebPushKeys: Sendable, Hashable {
    /// An uncompressed point of P-256: 65 bytes.
    let publicKey: [UInt8]
    /// 16 bytes.
    let authSecret: [UInt8]
}

/// The body of `PUT /v1/devices/{id}/push`.
///
/// Of Web Push it takes what `PushSubscription.toJSON()` gives: `endpoint` and `keys`; of the others a `token`.
struct PushRegistrationRequest: Decodable {
    struct Keys: Decodable {
        let p256dh: String
        let auth: String
    }

    let provider: String
    let token: String?
    let endpoint: String?
    let keys: Keys?
    let hide_content: Bool?

    /// - Throws: `HTTPProblem` that names the field which does not fit.
    func address() throws(HTTPProblem) -> PushAddress {
        guard let provider = PushProviderName(rawValue: provider) else {
            let names = PushProviderName.allCases.map(\.rawValue).joined(separator: ", ")
            throw .invalid("provider", "expected one of \(names).")
        }
        guard provider == .webpush else {
            guard let token, (1...2048).contains(token.utf8.count),
                token.utf8.allSatisfy({ (0x21...0x7e).contains($0) })
            else { throw .invalid("token", "expected 1-2048 visible ASCII characters.") }
            return PushAddress(provider: provider, token: token)
        }
        guard let endpoint = endpoint ?? token, endpoint.utf8.count <= 2048, let url = PushURL(endpoint), url.isSecure
        else { throw .invalid("endpoint", "expected an https URL of at most 2048 bytes.") }
        guard let publicKey = keys.flatMap({ Base64.url.decode($0.p256dh) }), WebPushCipher.isPublicKey(publicKey)
        else {
            throw .invalid("keys.p256dh", "expected an uncompressed point of P-256 in base64url.")
        }
        guard let secret = keys.flatMap({ Base64.url.decode($0.auth) }), secret.count == 16 else {
            throw .invalid("keys.auth", "expected 16 bytes in base64url.")
        }
        let keys = WebPushKeys(publicKey: publicKey, authSecret: secret)
        return PushAddress(provider: .webpush, token: endpoint, keys: keys)
    }
}
