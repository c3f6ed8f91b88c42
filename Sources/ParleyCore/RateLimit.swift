/// How much of something may be had, by the generic cell rate algorithm (ITU-T I.371, annex A): a lasting rate, and how
/// many at once where there was none for a while. It is a token bucket that keeps one number.
///
/// All times are microseconds of one clock, whichever it is.
public struct RateLimit: Sendable, Hashable, CustomStringConvertible {
    /// Between two, at the lasting rate; at least 1.
    public let interval: Int64
    /// At once, at least 1.
    public let burst: Int64

    /// - Parameters:
    ///   - count: as many in so many seconds.
    public init(_ count: Int64, perSeconds seconds: Int64, burst: Int64) {
        interval = max(1, seconds * 1_000_000 / max(1, count))
        self.burst = max(1, burst)
    }

    /// As people write it: `10/s:60` is ten a second and sixty at once. The unit is `s`, `m`, `h` or `d`.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        let rate = parts.first?.split(separator: "/", omittingEmptySubsequences: false) ?? []
        let bound: ClosedRange<Int64> = 1...1_000_000
        guard parts.count == 2, rate.count == 2, let count = Int64(rate[0]), let burst = Int64(parts[1]),
            let seconds = ["s": 1, "m": 60, "h": 3600, "d": 86_400][rate[1]] as Int64?,
            bound.contains(count), bound.contains(burst)
        else { return nil }
        self.init(count, perSeconds: seconds, burst: burst)
    }
}

extension RateLimit {
    /// As it is read, in the smallest unit that says it.
    public var description: String {
        let units: [(name: String, length: Int64)] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]
        let unit = units.first { $0.length * 1_000_000 % interval == 0 } ?? units[3]
        return "\(unit.length * 1_000_000 / interval)/\(unit.name):\(burst)"
    }
}

/// What is used up of a limit: the time at which all of it would have come at the lasting rate.
public struct RateUse: Sendable, Hashable {
    /// Nothing is used once this is past.
    public private(set) var end: Int64 = .min

    public init() {}

    /// Takes `cost` of the limit, or nothing.
    ///
    /// - Returns: 0 when it was taken, else for how long to wait.
    public mutating func take(_ cost: Int64 = 1, of limit: RateLimit, at now: Int64) -> Int64 {
        let next = max(end, now) + cost * limit.interval
        // What asks for more than there ever is goes when all is there.
        let room = max(limit.burst, cost) * limit.interval
        guard next - now <= room else { return next - now - room }
        end = next
        return 0
    }

    /// Takes `cost` of what already happened, into debt if need be: what comes next waits for it.
    ///
    /// - Parameter debt: as far as it may go beyond the burst, in microseconds.
    public mutating func charge(_ cost: Int64, of limit: RateLimit, at now: Int64, debt: Int64) {
        let bound = now + limit.burst * limit.interval + debt
        end = max(end, min(max(end, now) + cost * limit.interval, bound))
    }

    /// Lets nothing pass for so long.
    public mutating func pause(_ wait: Int64, of limit: RateLimit, at now: Int64) {
        end = max(end, now + (limit.burst - 1) * limit.interval + wait)
    }
}
