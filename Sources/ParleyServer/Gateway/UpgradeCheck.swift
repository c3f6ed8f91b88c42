import NIOHTTP1
import ParleyWire
import Synchronization

/// Whether a request may become a WebSocket. Decides; the upgrader and the route for what did not upgrade act on it.
struct UpgradeCheck {
    static let path = "/v1/ws"
    static let subprotocol = "parley.v1"

    struct Refusal: Error, Hashable {
        /// 400, 403, 404 or 503.
        let status: Int
        let code: ErrorCode
        let detail: String
    }

    let origins: OriginList
    let isFull: Bool
    var servesSockets = true

    /// Everything that can be wrong is looked at before the wish for an upgrade itself, which `FirstRequestHandler` takes
    /// out of a request that is refused: the route still finds the reason.
    ///
    /// - Returns: the headers of the 101 answer besides those of RFC 6455.
    func check(_ headers: HTTPHeaders) throws(Refusal) -> HTTPHeaders {
        guard servesSockets else {
            let detail = "This gateway has no sockets: GET /v1/gateways names those that have."
            throw Refusal(status: 404, code: .notFound, detail: detail)
        }
        guard headers.first(name: "sec-websocket-version") == "13", headers.first(name: "sec-websocket-key") != nil
        else {
            throw Refusal(status: 400, code: .badFrame, detail: "Sec-WebSocket-Version: 13 and a key are needed.")
        }
        if let origin = headers.first(name: "origin"), !origins.allows(origin) {
            throw Refusal(status: 403, code: .forbidden, detail: "Pages of \(origin) may not connect here.")
        }
        if isFull { throw Refusal(status: 503, code: .overloaded, detail: "This gateway takes no more sessions.") }
        let offered = headers[canonicalForm: "sec-websocket-protocol"]
        guard offered.isEmpty || offered.contains(where: { $0 == Self.subprotocol }) else {
            throw Refusal(status: 400, code: .badFrame, detail: "The subprotocol is \(Self.subprotocol).")
        }
        guard headers[canonicalForm: "upgrade"].contains(where: { $0.lowercased() == "websocket" }) else {
            throw Refusal(status: 400, code: .badFrame, detail: "This is a WebSocket: ask for an upgrade.")
        }
        return offered.isEmpty ? [:] : ["Sec-WebSocket-Protocol": Self.subprotocol]
    }
}

/// The origins whose pages may talk to this deployment: configured ones, and the gateways' own.
final class OriginList: Sendable {
    private let configured: Set<String>
    private let gateways = Mutex<Set<String>>([])

    init(_ configured: some Sequence<String>) { self.configured = Set(configured.map(Self.normalized)) }

    /// Takes the public URLs of registered gateways for good: the page that one served lives on when the gateway is gone.
    /// One on this machine has two names.
    func add(gateways urls: some Sequence<String>) {
        let origins = Set(urls.map(Self.normalized))
        let locals = origins.filter { $0.hasPrefix("http://127.0.0.1:") }.map {
            $0.replacing("127.0.0.1", with: "localhost")
        }
        gateways.withLock { $0.formUnion(origins.union(locals)) }
    }

    func allows(_ origin: String) -> Bool {
        let origin = Self.normalized(origin)
        return configured.contains(origin) || gateways.withLock { $0.contains(origin) }
    }

    /// Scheme and authority, in lower case.
    private static func normalized(_ url: String) -> String {
        let parts = url.lowercased().split(separator: "/", omittingEmptySubsequences: false)
        return parts.count >= 3 ? parts[..<3].joined(separator: "/") : url.lowercased()
    }
}
