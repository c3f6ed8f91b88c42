import Hummingbird
import ParleyWire

/// `GET /v1/gateways`: where a client may connect, best first. Needs no sign-in.
struct GatewayRoutes {
    let registry: GatewayRegistry

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        router.get("/v1/gateways") { request, _ in
            // Whoever is cut off knows no longer who is there; another gateway does.
            guard registry.isCurrent else { throw HTTPProblem(.unavailable, "The other gateways are not known now.") }
            var generator = SystemRandomNumberGenerator()
            let zone = request.uri.queryParameters["zone"].map(String.init)
            let ordered = GatewayChoice.order(registry.entries, zone: zone, using: &generator)
            return Listing(gateways: ordered.map { .init(url: $0.url, zone: $0.zone, load: $0.load) })
        }
    }

    private struct Listing: ResponseEncodable {
        struct Item: Encodable {
            let url: String
            let zone: String
            let load: Double
        }

        let gateways: [Item]
    }
}
