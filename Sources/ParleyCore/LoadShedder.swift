/// What a gateway gives up while too much waits, and when it takes it up again.
///
/// Each kind of pressure has a threshold for each load, rising in the order in which loads are given up; where one has
/// none, giving that load up would not help. A load is given up at once, and taken up again when every pressure has been
/// well below its threshold for a while.
public struct LoadShedder: Sendable {
    /// In the order in which they are given up.
    public enum Load: String, Sendable, Hashable, CaseIterable {
        case presence, typing, history
        /// New ones: what resumes goes on.
        case logins
        case sends
    }

    public struct Pressure: Sendable, Hashable {
        /// By how many milliseconds an event loop was late.
        public var loopLag: Int64 = 0
        /// For how many milliseconds the oldest command to Redis has been unanswered.
        public var commitDelay: Int64 = 0
        /// What waits for the archive, as a share of what may.
        public var backlog: Double = 0
        /// Queries that wait for a connection to PostgreSQL, for each that there is. A send needs none.
        public var waitingQueries: Double = 0
        /// Passwords that wait to be hashed, as a share of those that may. They harm nobody else.
        public var waitingHashes: Double = 0

        public init() {}
    }

    private static func thresholds(_ pressure: Pressure) -> [(value: Double, of: [Double])] {
        let none = Double.infinity
        return [
            (Double(pressure.loopLag), [200, 400, 800, 1500, 3000]),
            (Double(pressure.commitDelay), [500, 1000, 1500, 2500, 4000]),
            (pressure.backlog, [0.8, 0.85, 0.9, 0.95, 1]),
            (pressure.waitingQueries, [4, 6, 8, 16, none]),
            (pressure.waitingHashes, [none, none, none, 0.9, none]),
        ]
    }

    /// Below this share of a threshold it counts as over.
    private static let calm = 0.6
    /// How long it must, in milliseconds.
    private static let patience: Int64 = 3000

    public private(set) var shed: Set<Load> = []
    private var lastPressed: [Load: Int64] = [:]

    public init() {}

    /// - Parameter now: in milliseconds.
    /// - Returns: what is given up now.
    @discardableResult
    public mutating func observe(_ pressure: Pressure, at now: Int64) -> Set<Load> {
        let thresholds = Self.thresholds(pressure)
        for (index, load) in Load.allCases.enumerated() {
            if thresholds.contains(where: { $0.value >= $0.of[index] }) { shed.insert(load) }
            if thresholds.contains(where: { $0.value >= Self.calm * $0.of[index] }) { lastPressed[load] = now }
            if now - (lastPressed[load] ?? .min / 2) >= Self.patience { shed.remove(load) }
        }
        return shed
    }
}
