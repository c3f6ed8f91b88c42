import NIOCore
import ParleyWire

/// Something to send to one device.
struct Push: Sendable {
    let registration: PushRegistration
    let notice: PushNotice
    /// Milliseconds since 1970 up to which it may still be shown.
    let expiry: Int64
}

struct PushRequest: Sendable {
    let url: PushURL
    var headers: [(name: String, value: String)]
    let body: ByteBuffer
    /// Somebody who runs no part of this deployment chose where it goes.
    var isForeign = false
}

struct PushResponse: Sendable {
    let status: Int
    let headers: [(name: String, value: String)]
    let body: ByteBuffer

    /// The first of a name, in lower case.
    subscript(name: String) -> String? { headers.first { $0.name.lowercased() == name }?.value }

    /// Milliseconds that `Retry-After` asks for. Dates are for people's caches; push services give seconds.
    var retryAfter: Int64? {
        self["retry-after"].flatMap { Int64($0) }.map { min(max(0, $0), 86_400) * 1000 }
    }
}

/// How one provider is spoken to. Nothing of this waits for anything: it makes requests and reads answers.
protocol PushProvider: Sendable {
    var name: PushProviderName { get }

    /// - Parameters:
    ///   - limit: bytes of the text's carrier at most, below the provider's own limit; nil for that.
    ///   - now: milliseconds since 1970.
    func request(for push: Push, limit: Int?, now: Int64) throws -> PushRequest

    func outcome(of response: PushResponse, to push: Push) -> PushOutcome

    /// What it showed of itself was not taken: the next request shows something new, where there can be.
    func renewCredentials()
}

extension PushProvider {
    func renewCredentials() {}

    /// What all services mean by a status.
    func usualOutcome(of response: PushResponse) -> PushOutcome {
        switch response.status {
        case 200..<300: .sent
        case 413: .tooLarge
        case 429: .limited("status 429", after: response.retryAfter)
        case 408, 500...599: .retry("status \(response.status)", after: response.retryAfter)
        default: .refused("status \(response.status)")
        }
    }
}
