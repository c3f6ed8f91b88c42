/// How many sockets may begin: a token bucket for the gateway, and when to come back for those it has no token for.
///
/// What a client wants is not known before the upgrade, so each handshake takes one token. A socket that resumes costs no
/// more than that; one that begins anew will read its lists and history, and is charged for it when it signs in. So the
/// clients of a gateway that went away are let in at the full rate, and a crowd of new ones at a part of it.
public struct HandshakeGate: Sendable {
    /// What a session without `resume` costs beyond its handshake.
    public static let freshCost: Int64 = 3
    /// How far those may have gone ahead of the rate, in microseconds.
    private static let debt: Int64 = 10_000_000
    /// Bounds of the time that refused ones are spread over, in microseconds.
    private static let spread: ClosedRange<Int64> = 1_000_000...30_000_000

    private let limit: RateLimit
    private var use = RateUse()
    /// How many were refused in this second and in the one before.
    private var refused: (second: Int64, now: Int64, before: Int64) = (0, 0, 0)

    public init(limit: RateLimit) { self.limit = limit }

    /// A socket wants to begin.
    ///
    /// - Parameter now: in microseconds.
    /// - Returns: nil for welcome, else for how long to wait, in microseconds. Those who are refused together are told
    ///   times as far apart as the gate needs to let them all in, so that they do not come together again.
    public mutating func enter(at now: Int64, using generator: inout some RandomNumberGenerator) -> Int64? {
        let wait = use.take(of: limit, at: now)
        guard wait > 0 else { return nil }
        let second = now / 1_000_000
        if second != refused.second {
            refused = (second, 0, second == refused.second + 1 ? refused.now : 0)
        }
        refused.now += 1
        let crowd = max(refused.now, refused.before) * limit.interval
        let spread = min(max(crowd, Self.spread.lowerBound), Self.spread.upperBound)
        return wait + Int64.random(in: 0...spread, using: &generator)
    }

    /// A socket signed in and resumes nothing.
    public mutating func beganFresh(at now: Int64) {
        use.charge(Self.freshCost, of: limit, at: now, debt: Self.debt)
    }
}
