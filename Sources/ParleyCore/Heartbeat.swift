/// Whether the other end of a socket is alive: any frame counts as life.
public struct Heartbeat: Sendable, Equatable {
    public enum Action: Sendable, Equatable { case ping, close }

    /// Pings in a row without any sign of life.
    private var unanswered = 0

    public init() {}

    public mutating func heard() { unanswered = 0 }

    /// It is this session's turn.
    public mutating func turn() -> Action {
        guard unanswered < 2 else { return .close }
        unanswered += 1
        return .ping
    }
}
