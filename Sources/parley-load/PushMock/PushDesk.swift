import Crypto
import Foundation
import NIOCore
import NIOHTTP1

/// Everything of a push mock but the sockets. Confined to its event loop.
final class PushDesk {
    struct Answer {
        var status: Int
        var body = ""
        var headers: [(String, String)] = []
    }

    /// A push that was accepted.
    struct Accepted: Codable {
        let n: Int
        let service: String
        /// The browser's id, or the token.
        let device: String
        /// What repetitions share: the topic of Web Push, the idempotency key of a webhook.
        let collapse: String
        let ttl: String?
        let urgency: String?
        /// The decrypted text; without it, it was not looked into.
        let text: String?
        let http: String
    }

    private struct Browser {
        let key: P256.KeyAgreement.PrivateKey
        let secret: [UInt8]
    }

    let configuration: PushMock.Configuration
    var url = ""
    private var browsers: [String: Browser] = [:]
    private var faults: [PushFault] = []
    private var accepted: [Accepted] = []
    private var acceptedCount = 0
    private var requestCount = 0
    /// How often each message came to each device, and under which names.
    private var seen: [String: (count: Int, names: Set<String>)] = [:]
    private var problems: [String: Int] = [:]
    private var vapid = VAPIDCheck()

    /// Of accepted pushes the last ones are kept.
    private static let kept = 20_000

    init(_ configuration: PushMock.Configuration) { self.configuration = configuration }

    /// The fault whose turn it is, for a request of a push.
    func nextFault(_ path: String) -> PushFault? {
        guard let index = faults.firstIndex(where: { $0.concerns(path) }) else { return nil }
        let fault = faults[index]
        if let times = fault.times {
            if times <= 1 { faults.remove(at: index) } else { faults[index].times = times - 1 }
        }
        return fault
    }

    func isPush(_ path: String) -> Bool { !path.hasPrefix("/mock/") }

    func answer(_ head: HTTPRequestHead, _ body: ByteBuffer, http: String) -> Answer {
        let parts = head.uri.split(separator: "?", maxSplits: 1).map(String.init)
        switch (head.method, parts.first ?? "") {
        case (.POST, "/webhook"): return webhook(head, body, http)
        case (.POST, let path) where path.hasPrefix("/webpush/"):
            return webPush(String(path.dropFirst("/webpush/".count)), head, body, http)
        case (.POST, "/mock/subscriptions"): return subscribe()
        case (.POST, "/mock/faults"):
            guard let given = try? JSONDecoder().decode([PushFault].self, from: Data(body.readableBytesView)) else {
                return Answer(status: 400, body: "expected a list of faults")
            }
            faults = given
            return Answer(status: 204)
        case (.GET, "/mock/pushes"):
            let after = parts.last.flatMap { $0.split(separator: "=").last }.flatMap { Int($0) } ?? 0
            return json(accepted.filter { $0.n > after })
        case (.GET, "/mock/counts"): return json(counts)
        default: return Answer(status: 404)
        }
    }

    private func json(_ value: some Encodable) -> Answer {
        guard let text = try? JSONEncoder().encode(value) else { return Answer(status: 500) }
        return Answer(
            status: 200,
            body: String(decoding: text, as: UTF8.self),
            headers: [("content-type", "application/json")]
        )
    }

    private struct Counts: Encodable {
        let requests: Int
        let accepted: Int
        /// Messages to devices, each once.
        let distinct: Int
        /// Those that came more than once, and those of them that came under more than one name.
        let repeated: Int
        let renamed: Int
        let problems: [String: Int]
    }

    private var counts: Counts {
        Counts(
            requests: requestCount,
            accepted: acceptedCount,
            distinct: seen.count,
            repeated: seen.values.count { $0.count > 1 },
            renamed: seen.values.count { $0.names.count > 1 },
            problems: problems
        )
    }

    private func refuse(_ status: Int, _ problem: String) -> Answer {
        problems[problem, default: 0] += 1
        return Answer(status: status, body: problem)
    }

    private func accept(
        _ service: String,
        _ device: String,
        _ collapse: String,
        _ head: HTTPRequestHead,
        _ text: String?,
        _ http: String
    ) {
        acceptedCount += 1
        accepted.append(
            Accepted(
                n: acceptedCount,
                service: service,
                device: device,
                collapse: collapse,
                ttl: head.headers.first(name: "ttl"),
                urgency: head.headers.first(name: "urgency"),
                text: text,
                http: http
            )
        )
        if accepted.count > 2 * Self.kept { accepted.removeFirst(Self.kept) }
        // A notice to clear something has no message.
        guard let text, let mid = Self.field("mid", of: text) else { return }
        var record = seen["\(device) \(mid)"] ?? (0, [])
        record.count += 1
        record.names.insert(collapse)
        seen["\(device) \(mid)"] = record
    }

    private static func field(_ name: String, of json: String) -> String? {
        let object = try? JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any]
        return object?[name] as? String
    }

    // MARK: Web Push

    private func subscribe() -> Answer {
        struct Subscription: Encodable {
            let endpoint: String
            let keys: [String: String]
        }
        let browser = Browser(key: .init(), secret: (0..<16).map { _ in .random(in: 0...255) })
        let id = String((0..<16).map { _ in "abcdefghijkmnpqrstuvwxyz23456789".randomElement() ?? "a" })
        browsers[id] = browser
        let keys = [
            "p256dh": base64URL(browser.key.publicKey.x963Representation), "auth": base64URL(browser.secret),
        ]
        return json(Subscription(endpoint: "\(url)/webpush/\(id)", keys: keys))
    }

    private func webPush(_ id: String, _ head: HTTPRequestHead, _ body: ByteBuffer, _ http: String) -> Answer {
        requestCount += 1
        guard let browser = browsers[id] else { return Answer(status: 404) }
        guard body.readableBytes <= 4096 else { return refuse(413, "a body of \(body.readableBytes) bytes") }
        let headers = head.headers
        guard headers.first(name: "content-encoding") == "aes128gcm" else { return refuse(415, "no aes128gcm") }
        guard let ttl = headers.first(name: "ttl").flatMap({ Int($0) }), (0...2_419_200).contains(ttl) else {
            return refuse(400, "no TTL")
        }
        let topic = headers.first(name: "topic") ?? ""
        let isTopic = topic.utf8.allSatisfy { base64URLAlphabet.contains($0) }
        guard isTopic, topic.utf8.count <= 32 else { return refuse(400, "a topic that is none") }
        guard ["very-low", "low", "normal", "high"].contains(headers.first(name: "urgency") ?? "normal") else {
            return refuse(400, "an urgency that is none")
        }
        let isChecked = requestCount % configuration.checkEvery == 0
        if isChecked, let problem = vapid.problem(headers.first(name: "authorization"), audience: url) {
            return refuse(403, problem)
        }
        var text: String?
        if isChecked {
            do {
                text = try WebPushRecord(body).decrypted(by: browser.key, browser.secret)
            } catch {
                return refuse(400, "cannot be decrypted: \(error)")
            }
        }
        accept("webpush", id, topic, head, text, http)
        return Answer(status: 201, headers: [("location", "\(url)/messages/\(acceptedCount)")])
    }

    // MARK: Webhook

    private func webhook(_ head: HTTPRequestHead, _ body: ByteBuffer, _ http: String) -> Answer {
        requestCount += 1
        let text = String(buffer: body)
        let parts =
            head.headers.first(name: "parley-signature")?.split(separator: ",").map { $0.split(separator: "=") } ?? []
        guard parts.count == 2, parts.allSatisfy({ $0.count == 2 }), parts[0][0] == "t", parts[1][0] == "v1",
            let time = Double(parts[0][1]), abs(Date().timeIntervalSince1970 - time) < 300
        else { return refuse(401, "no signature, or an old one") }
        let code = HMAC<SHA256>.authenticationCode(
            for: Data("\(parts[0][1]).\(text)".utf8),
            using: SymmetricKey(data: Data(configuration.webhookSecret.utf8))
        )
        guard code.map({ String(format: "%02x", $0) }).joined() == parts[1][1] else {
            return refuse(401, "a signature that does not fit")
        }
        guard let token = Self.field("token", of: text) else { return refuse(400, "no token") }
        accept("webhook", token, head.headers.first(name: "idempotency-key") ?? "", head, text, http)
        return Answer(status: 204)
    }
}

let base64URLAlphabet = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

func base64URL(_ bytes: some Sequence<UInt8>) -> String {
    String(Data(bytes).base64EncodedString().filter { $0 != "=" }.map { ["+": "-", "/": "_"][$0, default: $0] })
}

func base64URLDecoded(_ text: some StringProtocol) -> Data? {
    guard text.utf8.allSatisfy({ base64URLAlphabet.contains($0) }) else { return nil }
    let standard = String(text.map { ["-": "+", "_": "/"][$0, default: $0] })
    return Data(base64Encoded: standard + String(repeating: "=", count: (4 - standard.utf8.count % 4) % 4))
}
