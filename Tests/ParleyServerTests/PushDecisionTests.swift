import Crypto
import NIOCore
import ParleyCore
import ParleyWire
import Testing

@testable import ParleyServer

/// What is decided about pushes without any I/O.
@Suite struct PushDecisionTests {
    @Test func `quiet hours end where they end, and may pass midnight`() {
        let night = QuietMinutes(from: 22 * 60, to: 7 * 60)
        #expect([22 * 60, 23 * 60 + 59, 0, 6 * 60 + 59].allSatisfy { night.contains($0) })
        #expect(![7 * 60, 12 * 60, 21 * 60 + 59].contains { night.contains($0) })
        let noon = QuietMinutes(from: 720, to: 780)
        #expect(noon.contains(720) && noon.contains(779) && !noon.contains(780) && !noon.contains(0))
        #expect((0..<1440).allSatisfy { QuietMinutes(from: 60, to: 60).contains($0) })
    }

    @Test func `retries are spread over a span that doubles, wait as asked, and end with the push`() {
        var generator = SystemRandomNumberGenerator()
        let schedule = RetrySchedule(base: 1000, cap: 8000)
        func next(_ attempt: Int, after: Int64? = nil, expiry: Int64 = .max) -> Int64? {
            schedule.next(attempt: attempt, after: after, now: 100_000, expiry: expiry, using: &generator)
        }
        for (attempt, span) in [(1, 1000), (2, 2000), (3, 4000), (4, 8000), (60, 8000)] as [(Int, Int64)] {
            let delays = (0..<500).map { _ in (next(attempt) ?? 0) - 100_000 }
            #expect(delays.allSatisfy { (0...span).contains($0) })
            #expect(delays.contains { $0 < span / 4 } && delays.contains { $0 > span * 3 / 4 })
        }
        #expect(
            (0..<100).allSatisfy { _ in (101_000 + 60_000...101_000 + 61_000).contains((next(1, after: 61_000) ?? 0)) }
        )
        #expect(next(1, after: 5000, expiry: 105_000) == nil)
    }

    @Test func `a breaker opens after failures in a row, lets one try, and waits longer each time`() {
        let breaker = Breaker()
        for _ in 1..<CircuitBreaker.threshold { #expect(!breaker.failed(at: 0)) }
        breaker.succeeded()
        for _ in 1..<CircuitBreaker.threshold { #expect(!breaker.failed(at: 0)) }
        #expect(breaker.admit(at: 0) == 0 && !breaker.isOpen)
        #expect(breaker.failed(at: 0) && breaker.isOpen)
        #expect(!breaker.failed(at: 10), "sent before it opened")
        #expect(breaker.admit(at: 999) == 1000)
        var now: Int64 = 1000
        for pause in [2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] as [Int64] {
            #expect(breaker.admit(at: now) == 0)
            #expect(breaker.admit(at: now) > now, "one at a time")
            #expect(!breaker.failed(at: now))
            #expect(breaker.admit(at: now) == now + pause)
            now += pause
        }
        #expect(breaker.admit(at: now) == 0)
        #expect(breaker.admit(at: now + 31_000) == 0, "the one that tried was never heard of again")
        breaker.succeeded()
        #expect(breaker.admit(at: now) == 0 && !breaker.isOpen)
        #expect(breaker.trip(at: now) && !breaker.trip(at: now))
        #expect(breaker.admit(at: now) == now + CircuitBreaker.longestPause)
    }

    /// One that a test's expectations may change.
    private final class Breaker {
        private var state = CircuitBreaker()

        var isOpen: Bool { state.isOpen }
        func admit(at now: Int64) -> Int64 { state.admit(at: now) }
        func succeeded() { state.succeeded() }
        func failed(at now: Int64) -> Bool { state.failed(at: now) }
        func trip(at now: Int64) -> Bool { state.trip(at: now) }
    }

    private static let user = UserID("bob")!
    private static let browser = P256.KeyAgreement.PrivateKey()
    private static let address = PushAddress(
        provider: .webpush,
        token: "https://push.example.net/send/abc?x=1",
        keys: WebPushKeys(
            publicKey: Array(browser.publicKey.x963Representation),
            authSecret: Array(repeating: 7, count: 16)
        )
    )

    private func push(_ body: String? = "hello", group: String? = nil, address: PushAddress = address) -> Push {
        let mid = MessageID(rawValue: 1 << 40)!
        let kind = PushNotice.Kind.message(
            .init(mid: mid, seq: 7, from: UserID("ann")!, timestamp: 5, sender: "Ann", group: group, body: body)
        )
        let conversation = ConversationID.direct(UserID("ann")!, Self.user)
        return Push(
            registration: .init(
                id: 9,
                user: Self.user,
                device: "phone",
                address: address,
                hidesContent: false,
                registeredAt: 1000
            ),
            notice: PushNotice(conversation: conversation, kind: kind, badge: 3),
            expiry: 90_000_000
        )
    }

    private func response(_ status: Int, _ headers: [(String, String)] = []) -> PushResponse {
        PushResponse(status: status, headers: headers.map { (name: $0.0, value: $0.1) }, body: ByteBuffer())
    }

    @Test func `every status has its meaning`() throws {
        let web = WebPushProvider(key: VAPIDKey(), subject: nil)
        let hook = WebhookProvider(url: PushURL("https://example.net/hook")!, secret: "s")
        for provider in [web, hook] as [any PushProvider] {
            func outcome(_ status: Int, _ headers: (String, String)...) -> PushOutcome {
                provider.outcome(of: response(status, headers), to: push())
            }
            #expect([200, 201, 202, 204].allSatisfy { outcome($0) == .sent })
            #expect([404, 410].allSatisfy { outcome($0) == .gone("status \($0)") })
            #expect([401, 403].allSatisfy { outcome($0) == .credentials("status \($0)") })
            #expect(outcome(413) == .tooLarge)
            #expect(outcome(429) == .limited("status 429", after: nil))
            #expect(outcome(429, ("Retry-After", "7")) == .limited("status 429", after: 7000))
            #expect(outcome(429, ("retry-after", "99999999")) == .limited("status 429", after: 86_400_000))
            #expect(outcome(503, ("Retry-After", "2")) == .retry("status 503", after: 2000))
            #expect(outcome(500) == .retry("status 500"))
            #expect(outcome(408) == .retry("status 408"))
            #expect([301, 400, 405, 422].allSatisfy { outcome($0) == .refused("status \($0)") })
        }
    }

    /// RFC 8291, section 5.
    @Test func `the worked example of RFC 8291 comes out to the byte`() throws {
        func bytes(_ text: String) throws -> [UInt8] { try #require(Base64.url.decode(text)) }
        let keys = WebPushKeys(
            publicKey: try bytes(
                "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
            ),
            authSecret: try bytes("BTBZMqHH6r4Tts7J_aSIgg")
        )
        let body = try WebPushCipher.encrypt(
            ByteBuffer(string: "When I grow up, I want to be a watermelon"),
            for: keys,
            salt: bytes("DGv6ra1nlYgDCS1FRnbzlw"),
            key: .init(rawRepresentation: bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"))
        )
        #expect(
            Base64.url.encode(body.readableBytesView)
                == "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tlz"
                + "AC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        )
    }

    @Test func `a request of Web Push has what RFC 8030 and 8292 ask for`() throws {
        let key = VAPIDKey()
        let provider = WebPushProvider(key: key, subject: "mailto:ops@example.net")
        let request = try provider.request(for: push(), limit: nil, now: 10_000)
        let headers = Dictionary(uniqueKeysWithValues: request.headers.map { ($0.name, $0.value) })
        #expect(request.isForeign && request.url.path == "/send/abc?x=1")
        #expect(headers["ttl"] == "89990" && headers["urgency"] == "high" && headers["content-encoding"] == "aes128gcm")
        #expect(headers["topic"].map { $0.utf8.count <= 32 && Base64.url.decode($0) != nil } == true)
        let parts = try #require(headers["authorization"]).split(whereSeparator: { " ,=".contains($0) })
        #expect(parts.count == 5 && parts[0] == "vapid" && parts[4] == key.publicText)
        let token = parts[2].split(separator: ".")
        let signature = try #require(Base64.url.decode(token[2]))
        let read = try P256.Signing.ECDSASignature(rawRepresentation: signature)
        #expect(key.key.publicKey.isValidSignature(read, for: Array("\(token[0]).\(token[1])".utf8)))
        let payload = try #require(Base64.url.decode(token[1]))
        let claims = String(decoding: payload, as: UTF8.self)
        #expect(claims == #"{"aud":"https://push.example.net","exp":43210,"sub":"mailto:ops@example.net"}"#)
        let again = try provider.request(for: push(), limit: nil, now: 20_000)
        #expect(again.headers.first?.value == request.headers.first?.value, "a token is used again")
        let later = try provider.request(for: push(), limit: nil, now: 10_000 + 7 * 3_600_000)
        #expect(later.headers.first?.value != request.headers.first?.value)
    }

    @Test func `what is too long is shortened at a character, and never lost`() throws {
        let long = push(String(repeating: "é👩‍👩‍👧x", count: 2000)).notice
        func text(_ notice: PushNotice) -> ByteBuffer {
            var json = ByteBuffer()
            json.beginJSONObject()
            notice.writeData(into: &json)
            notice.writeText(into: &json)
            json.endJSONObject()
            return json
        }
        for limit in [3993, 1000, 300] {
            let written = long.fitting(limit, text)
            #expect(written.readableBytes <= limit)
            let whole = String(buffer: written)
            #expect(whole.contains(#""title":"Ann""#) && whole.contains("…") && !whole.contains("\u{fffd}"))
        }
        let short = String(buffer: long.fitting(10, text))
        #expect(short.contains(#""body_key":"new_message""#) && short.contains(#""mid""#), "the rest stays")
        let request = try WebPushProvider(key: VAPIDKey(), subject: nil).request(
            for: push(long.body),
            limit: nil,
            now: 0
        )
        #expect(request.body.readableBytes <= 4096)
    }

    @Test func `texts are the sender's, the group's, or a key of the app's`() {
        #expect(push().notice.title == "Ann" && push().notice.localized == nil)
        #expect(push(nil).notice.localized?.key == "new_message")
        let group = push("hi", group: "Team").notice
        #expect(group.title == "Team" && group.localized?.key == "group_message")
        #expect(group.localized?.arguments == ["Ann", "hi"])
        #expect(push(nil, group: "Team").notice.localized?.arguments == ["Ann"])
    }

    @Test func `a push has the same id at every attempt, and another on another device`() {
        let one = PushID(push()).description
        #expect(one == PushID(push("other text")).description)
        #expect(one.wholeMatch(of: /[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/) != nil)
    }

    @Test(arguments: [
        ("https://a.example/x", "https://a.example", "/x"), ("https://a.example", "https://a.example", "/"),
        ("https://A.example:8443?q", "https://a.example:8443", "/?q"),
        ("https://[2001:db8::1]:444/", "https://[2001:db8::1]:444", "/"),
        ("https://a.example:443/", "https://a.example", "/"), ("http://127.0.0.1:80/", "http://127.0.0.1", "/"),
    ])
    func `URLs are read`(text: String, origin: String, path: String) throws {
        let url = try #require(PushURL(text))
        #expect(url.origin.description == origin && url.path == path)
    }

    @Test(arguments: [
        "ftp://a/", "https:/a", "https://", "https://u:p@a/", "https://a:0/", "https://a:99999/", "https://a/#f",
        "https://[x]/", "https://a b/", "https://a\\b/", "https://a\u{e9}/", "a.example", "https://a:b/", "https://@a/",
    ])
    func `what is no URL is none`(text: String) { #expect(PushURL(text) == nil) }

    @Test func `private addresses are known, public ones are not among them`() throws {
        for text in [
            "127.0.0.1", "127.255.0.1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
            "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fd00::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1", "198.18.0.1", "192.0.2.1",
        ] {
            let address = try #require(ClientAddress(text))
            #expect(PrivateAddresses.contains(address), "\(text)")
        }
        for text in ["8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:4700::1111", "192.169.0.1", "1.1.1.1"] {
            let address = try #require(ClientAddress(text))
            #expect(!PrivateAddresses.contains(address), "\(text)")
        }
    }
}

extension PushNotice {
    fileprivate var body: String? { if case .message(let message) = kind { message.body } else { nil } }
}
