/// How many sessions a gateway sends to others because it has far more than they, for a share that is the same everywhere:
/// what all gateways hold over what all may hold.
///
/// It begins above a band around its share and goes on until within half of the band, towards gateways below the mean
/// alone: so what was sent on is not sent back.
public struct Rebalancing: Sendable {
    public struct Terms: Sendable {
        /// How far above its share a gateway may be, as a part of it; 0 never sends anybody away.
        public var band = 0.2
        /// Sessions above its share below which it is not worth it.
        public var leastExcess = 100
        /// Sessions that are sent away in a second, at most.
        public var rate = 20

        public init() {}
    }

    /// What a gateway holds and may hold.
    public struct Load: Sendable {
        public var sessions: Int
        public var capacity: Int

        public init(sessions: Int, capacity: Int) {
            self.sessions = sessions
            self.capacity = capacity
        }
    }

    private let terms: Terms
    private var isShedding = false
    /// Sessions of all gateways, as of the last seconds.
    private var sums: [Int] = []

    private static let remembered = 5

    public init(_ terms: Terms) { self.terms = terms }

    /// Asked once a second.
    /// - Parameters:
    ///   - leaving: of its own sessions those that were told to go and are still here.
    ///   - others: gateways that take sessions, as they were about a second ago.
    /// - Returns: how many sessions to send away now.
    public mutating func toShed(own: Load, leaving: Int, others: [Load]) -> Int {
        let all = others + [own]
        let capacity = all.reduce(0) { $0 + $1.capacity }
        guard terms.band > 0, !others.isEmpty, capacity > 0 else { return 0 }
        // Who has left here and is not in the picture of the others yet is missing from the sum for a moment.
        sums = (sums + [all.reduce(0) { $0 + $1.sessions }]).suffix(Self.remembered)
        let share = Double(sums.max() ?? 0) / Double(capacity) * Double(own.capacity)
        let staying = Double(own.sessions - leaving)
        let excess = staying - share
        if excess > share * terms.band, excess >= Double(terms.leastExcess) { isShedding = true }
        let target = share * (1 + terms.band / 2)
        if staying <= target { isShedding = false }
        guard isShedding else { return 0 }
        return min(terms.rate, Int((staying - target).rounded(.up)))
    }
}
