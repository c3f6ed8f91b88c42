public import ParleyWire

/// How long somebody counts as online after the last sign of them. All in milliseconds.
public struct PresenceTerms: Sendable, Hashable {
    /// Between two renewals of a session's lease.
    public let heartbeat: Int64
    /// What a lost connection is forgiven.
    public let grace: Int64

    public init(heartbeat: Int64, grace: Int64) {
        self.heartbeat = heartbeat
        self.grace = grace
    }

    /// Of a session's lease from its last renewal: a gateway that died has missed two, and its clients get the grace.
    public var lease: Int64 { 2 * heartbeat + grace }

    /// Of the lease of a poll that waits: the next one may take its time.
    /// - Parameter wait: of the poll, in milliseconds.
    public func lease(ofPollWaiting wait: Int64) -> Int64 { wait + grace }

    /// How a session ended.
    public enum End: Sendable, Hashable {
        /// The client closed, with this code if it gave one.
        case closedByClient(UInt16?)
        case closedByServer(CloseCode)
        /// The connection broke.
        case lost
    }

    /// What is left of the lease after an end: nothing where a person left or was signed out. A reload, a tunnel, a
    /// gateway that drains are no leaving.
    public func remainder(after end: End) -> Int64 {
        switch end {
        case .closedByClient(CloseCode.normal.rawValue), .closedByServer(.unauthorized), .closedByServer(.banned): 0
        case .closedByClient, .closedByServer, .lost: grace
        }
    }
}
