/// Who has a connection and who waits for one. Waiters are served in the order of their tickets.
struct PoolState<Connection, Waiter> {
    enum Acquisition {
        case lease(Connection)
        /// The caller makes a new connection, or calls ``openFailed()``.
        case open
        case wait(ticket: UInt64)
        case closed
    }

    let limit: Int
    private(set) var leased = 0
    private(set) var isClosed = false
    private var idle: [Connection] = []
    private var waiters: [UInt64: Waiter] = [:]
    private var nextTicket: UInt64 = 0
    /// No waiter has a ticket below this.
    private var nextServed: UInt64 = 0

    init(limit: Int) {
        self.limit = limit
    }

    var waiting: Int { waiters.count }

    mutating func acquire() -> Acquisition {
        guard !isClosed else { return .closed }
        if let connection = idle.popLast() {
            leased += 1
            return .lease(connection)
        }
        // Nothing is idle, so all connections are leased.
        if leased < limit {
            leased += 1
            return .open
        }
        defer { nextTicket += 1 }
        return .wait(ticket: nextTicket)
    }

    /// The caller of a `.wait` settles down; what became possible in between is answered at once.
    mutating func enqueue(_ waiter: Waiter, ticket: UInt64) -> Acquisition {
        if isClosed || leased < limit { return acquire() }
        waiters[ticket] = waiter
        nextServed = min(nextServed, ticket)
        return .wait(ticket: ticket)
    }

    /// `nil` if the waiter was served already.
    mutating func abandon(ticket: UInt64) -> Waiter? {
        waiters.removeValue(forKey: ticket)
    }

    /// Takes a connection back. The waiter returned, if any, gets it.
    mutating func release(_ connection: Connection) -> Waiter? {
        while nextServed < nextTicket, !waiters.isEmpty {
            defer { nextServed += 1 }
            if let waiter = waiters.removeValue(forKey: nextServed) { return waiter }
        }
        leased -= 1
        if !isClosed { idle.append(connection) }
        return nil
    }

    mutating func openFailed() {
        leased -= 1
    }

    /// Gives back the waiters, to be refused. Idle connections are let go now, leased ones when they come back.
    mutating func close() -> [Waiter] {
        isClosed = true
        idle = []
        defer { waiters = [:] }
        return Array(waiters.values)
    }
}
