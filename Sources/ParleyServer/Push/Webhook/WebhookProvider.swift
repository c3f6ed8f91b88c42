import Crypto
import NIOCore
import ParleyWire

/// JSON to a server of the operator's own, signed with a shared secret: for whatever else there is.
///
/// `Parley-Signature: t=<seconds since 1970>,v1=<hexadecimal HMAC-SHA256 of "<t>.<body>">`, and `Idempotency-Key`, which a
/// repetition carries again.
struct WebhookProvider: PushProvider {
    let url: PushURL
    let secret: String

    var name: PushProviderName { .webhook }

    /// Bytes; a server of one's own has no smaller limit than a message's.
    private static let limit = 65_536

    func request(for push: Push, limit: Int?, now: Int64) throws -> PushRequest {
        let body = push.notice.fitting(min(limit ?? .max, Self.limit)) { notice in
            var json = ByteBuffer()
            json.beginJSONObject()
            json.writeJSONField("token", push.registration.address.token)
            json.writeJSONField("user", push.registration.user)
            json.writeJSONField("device", push.registration.device)
            json.writeJSONField("collapse_id", notice.collapseID)
            json.writeJSONField("expires_at", push.expiry)
            notice.writeData(into: &json)
            notice.writeText(into: &json)
            json.endJSONObject()
            return json
        }
        let time = now / 1000
        let code = HMAC<SHA256>.authenticationCode(
            for: Array("\(time).".utf8) + Array(body.readableBytesView),
            using: SymmetricKey(data: Array(secret.utf8))
        )
        return PushRequest(
            url: url,
            headers: [
                ("content-type", "application/json"),
                ("parley-signature", "t=\(time),v1=\(hexadecimal(code))"),
                ("idempotency-key", PushID(push).description),
            ],
            body: body
        )
    }

    func outcome(of response: PushResponse, to push: Push) -> PushOutcome {
        switch response.status {
        case 404, 410: .gone("status \(response.status)")
        case 401, 403: .credentials("status \(response.status)")
        default: usualOutcome(of: response)
        }
    }
}

func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}

/// The same for all attempts at one push, and for no other: a UUID (RFC 9562, version 8) of the message and the device.
struct PushID: CustomStringConvertible {
    let description: String

    init(_ push: Push) {
        let what =
            switch push.notice.kind {
            case .message(let message): "message \(message.mid)"
            case .read(let seq): "read \(push.notice.conversation) \(seq)"
            }
        var bytes = Array(SHA256.hash(data: Array("\(what) \(push.registration.id)".utf8)).prefix(16))
        bytes[6] = bytes[6] & 0x0f | 0x80
        bytes[8] = bytes[8] & 0x3f | 0x80
        let digits = hexadecimal(bytes)
        let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)].map { from, to in
            String(digits.dropFirst(from).prefix(to - from))
        }
        description = parts.joined(separator: "-")
    }
}

/// A push that cannot be made, or not got to the provider.
enum PushError: Error, CustomStringConvertible {
    case unusable(String)
    case forbiddenAddress(String)
    case transport(String)

    var description: String {
        switch self {
        case .unusable(let why), .transport(let why): why
        case .forbiddenAddress(let address): "leads to the private address \(address)"
        }
    }
}
