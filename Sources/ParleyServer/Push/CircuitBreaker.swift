/// Keeps off a provider that fails again and again: after so many failures in a row nothing is sent for a pause, then one
/// push tries it, and each failure of such a try doubles the pause. Times in milliseconds of one clock.
struct CircuitBreaker: Sendable, Hashable {
    private enum State: Hashable {
        case closed(failures: Int)
        case open(until: Int64, pause: Int64)
        /// One is under way, until then at the latest.
        case trying(until: Int64, pause: Int64)
    }

    static let threshold = 20
    static let firstPause: Int64 = 1000
    static let longestPause: Int64 = 60_000
    /// What was tried and never heard of again holds up nobody for longer.
    private static let patience: Int64 = 30_000

    private var state = State.closed(failures: 0)

    var isOpen: Bool { if case .closed = state { false } else { true } }

    /// - Returns: 0 where a push may be sent now, else the time to wait for.
    mutating func admit(at now: Int64) -> Int64 {
        switch state {
        case .closed: return 0
        case .open(let until, let pause), .trying(let until, let pause):
            guard now >= until else { return until }
            state = .trying(until: now + Self.patience, pause: pause)
            return 0
        }
    }

    mutating func succeeded() { state = .closed(failures: 0) }

    /// - Returns: whether it has just opened.
    mutating func failed(at now: Int64) -> Bool {
        switch state {
        case .closed(let failures) where failures + 1 < Self.threshold:
            state = .closed(failures: failures + 1)
            return false
        case .closed:
            state = .open(until: now + Self.firstPause, pause: Self.firstPause)
            return true
        case .trying(_, let pause):
            let longer = min(Self.longestPause, 2 * pause)
            state = .open(until: now + longer, pause: longer)
            return false
        // Sent before it opened.
        case .open: return false
        }
    }

    /// Nothing will go well before somebody has mended something.
    /// - Returns: whether it has just opened.
    mutating func trip(at now: Int64) -> Bool {
        defer { state = .open(until: now + Self.longestPause, pause: Self.longestPause) }
        return !isOpen
    }
}
