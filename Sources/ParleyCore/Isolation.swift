/// Whether a gateway is cut off from Redis, and how many of its sessions hear of it in each second.
///
/// It cannot tell whether the others are better off. So sessions are told slowly, within a window, and none any more from
/// when Redis is back; and they are told to go, not closed: a client leaves when another gateway has taken it. Where
/// Redis is away for everybody, nobody is taken and everybody stays.
public struct Isolation: Sendable {
    /// Milliseconds without an answer from which on a gateway counts as cut off: as long as a command may take.
    public static let patience: Int64 = 5_000

    /// Milliseconds within which all sessions are told.
    private let window: Int64
    /// When Redis last answered.
    public private(set) var heard: Int64
    /// A question since then has failed: without one, this process may have stood still itself.
    private var hasFailed = false

    /// Times are milliseconds of any steady clock.
    public init(window: Int64, now: Int64) {
        self.window = window
        heard = now
    }

    public mutating func answered(at time: Int64) { (heard, hasFailed) = (max(heard, time), false) }

    /// A question found no answer.
    public mutating func failed() { hasFailed = true }

    public func isCutOff(at now: Int64) -> Bool { hasFailed && now - heard >= Self.patience }

    /// Asked once a second.
    /// - Parameter untold: sessions that have not been told since Redis was last heard of.
    /// - Returns: how many of them to tell now.
    public func toTell(of untold: Int, at now: Int64) -> Int {
        guard isCutOff(at: now) else { return 0 }
        let seconds = Int(max(1, (heard + Self.patience + window - now) / 1000))
        return (untold + seconds - 1) / seconds
    }
}
