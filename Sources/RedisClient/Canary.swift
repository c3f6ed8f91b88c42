import NIOCore

/// Whether what is published reaches a connection: messages with rising numbers that another connection publishes must
/// come by in time. A server, or something before it, may answer everything else and yet pass nothing on.
struct Canary {
    private var last = 0
    private var heard = 0
    /// By when one that the server took must come by.
    private var deadline: NIODeadline?
    /// One came by on this connection.
    private(set) var hasComeBy = false

    private static let patience = TimeAmount.seconds(5)

    /// There is a new connection: what was published before is nothing that it could hear.
    mutating func connected() {
        heard = last
        deadline = nil
        hasComeBy = false
    }

    /// The number to publish.
    mutating func next() -> Int {
        last += 1
        return last
    }

    /// The server has taken one.
    mutating func published(_ number: Int, at now: NIODeadline) {
        if number > heard, deadline == nil { deadline = now + Self.patience }
    }

    mutating func heard(_ number: Int) {
        heard = max(heard, number)
        deadline = nil
        hasComeBy = true
    }

    /// Something else came by: the connection is behind, not deaf.
    mutating func heardOther(at now: NIODeadline) {
        if deadline != nil { deadline = now + Self.patience }
    }

    func isOverdue(at now: NIODeadline) -> Bool { deadline.map { $0 < now } ?? false }
}
