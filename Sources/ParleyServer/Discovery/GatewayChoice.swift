/// The order in which a client should try gateways.
enum GatewayChoice {
    /// So many are told of: whoever needs more asks again.
    static let limit = 50

    /// Those of the client's zone first, and none that drains or is full. Among equals the less loaded of two drawn at
    /// random, again and again, so that many clients at once spread (Mitzenmacher, "The Power of Two Choices in Randomized
    /// Load Balancing", 2001); what a gateway has to spare weighs in the draw, so that a small one is not drawn as often
    /// as a large one.
    static func order(
        _ entries: [GatewayEntry],
        zone: String?,
        using generator: inout some RandomNumberGenerator
    ) -> [GatewayEntry] {
        var ordered: [GatewayEntry] = []
        for var rest in groups(entries, zone: zone) {
            while !rest.isEmpty, ordered.count < limit {
                ordered.append(rest.remove(at: lessLoaded(rest, using: &generator)))
            }
        }
        return ordered
    }

    /// The first of such an order.
    static func best(
        of entries: [GatewayEntry],
        zone: String?,
        using generator: inout some RandomNumberGenerator
    ) -> GatewayEntry? {
        guard let rest = groups(entries, zone: zone).first(where: { !$0.isEmpty }) else { return nil }
        return rest[lessLoaded(rest, using: &generator)]
    }

    private static func groups(_ entries: [GatewayEntry], zone: String?) -> [[GatewayEntry]] {
        [true, false].map { isNear in entries.filter { $0.spare > 0 && ($0.zone == zone) == isNear } }
    }

    private static func lessLoaded(_ entries: [GatewayEntry], using generator: inout some RandomNumberGenerator) -> Int
    {
        let (one, other) = (draw(entries, using: &generator), draw(entries, using: &generator))
        return entries[one].load <= entries[other].load ? one : other
    }

    private static func draw(_ entries: [GatewayEntry], using generator: inout some RandomNumberGenerator) -> Int {
        var point = Int.random(in: 0..<entries.reduce(0) { $0 + $1.spare }, using: &generator)
        for (index, entry) in entries.enumerated() {
            point -= entry.spare
            if point < 0 { return index }
        }
        preconditionFailure("a point beyond the sum")
    }
}
