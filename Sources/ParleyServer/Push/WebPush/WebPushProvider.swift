import Crypto
import NIOCore
import ParleyWire

/// Web Push (RFC 8030): encrypted for the browser, sent to whatever push service the browser chose.
struct WebPushProvider: PushProvider {
    let key: VAPIDKey
    /// A `mailto:` or `https:` URL at which a push service reaches whoever runs this; some insist on one.
    let subject: String?
    private let tokens = TokenCache()

    /// Milliseconds that a token is used for, of the twice as long that it is good for. A day is the most.
    private static let tokenUse: Int64 = 6 * 3_600_000

    var name: PushProviderName { .webpush }

    init(key: VAPIDKey, subject: String?) {
        self.key = key
        self.subject = subject
    }

    func request(for push: Push, limit: Int?, now: Int64) throws -> PushRequest {
        guard let url = PushURL(push.registration.address.token), let keys = push.registration.address.keys else {
            throw PushError.unusable("the registration is not one of Web Push")
        }
        let text = push.notice.fitting(min(limit ?? .max, WebPushCipher.textLimit)) { notice in
            var json = ByteBuffer()
            json.beginJSONObject()
            notice.writeData(into: &json)
            notice.writeText(into: &json)
            json.endJSONObject()
            return json
        }
        let token = try token(for: url.origin, now: now)
        let topic = SHA256.hash(data: Array(push.notice.collapseID.utf8))
        let isMessage = push.notice.title != nil
        return PushRequest(
            url: url,
            headers: [
                ("authorization", "vapid t=\(token), k=\(key.publicText)"),
                ("content-encoding", "aes128gcm"),
                ("content-type", "application/octet-stream"),
                ("ttl", String(max(0, (push.expiry - now) / 1000))),
                ("urgency", isMessage ? "high" : "low"),
                ("topic", Base64.url.encode(topic.prefix(24))),
            ],
            body: try WebPushCipher.encrypt(text, for: keys),
            isForeign: true
        )
    }

    private func token(for origin: PushURL.Origin, now: Int64) throws -> String {
        try tokens.token(for: origin.description, now: now, lifetime: Self.tokenUse) {
            var claims = ByteBuffer()
            claims.beginJSONObject()
            claims.writeJSONField("aud", origin.description)
            claims.writeJSONField("exp", (now + 2 * Self.tokenUse) / 1000)
            if let subject { claims.writeJSONField("sub", subject) }
            claims.endJSONObject()
            return try JSONWebToken.es256(
                header: #"{"typ":"JWT","alg":"ES256"}"#,
                claims: String(buffer: claims),
                key: key.key
            )
        }
    }

    func renewCredentials() { tokens.clear() }

    func outcome(of response: PushResponse, to push: Push) -> PushOutcome {
        switch response.status {
        case 404, 410: .gone("status \(response.status)")
        case 401, 403: .credentials("status \(response.status)")
        default: usualOutcome(of: response)
        }
    }
}
