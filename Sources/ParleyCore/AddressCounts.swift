/// How many connections there are from each address, and how many of them have not signed in.
///
/// An address is remembered while it has a connection, so the table is never larger than their number.
public struct AddressCounts: Sendable {
    public struct Limits: Sendable, Hashable {
        /// Of one address. Many people may share one: an office, a mobile network.
        public var connections = 2000
        /// Of these not signed in: before a whole request, or before a socket's `auth`. It lasts seconds.
        public var strangers = 200
        /// Not signed in, of all addresses together.
        public var allStrangers = 10_000

        public init() {}
    }

    private struct Count {
        var connections = 0
        var strangers = 0
    }

    private let limits: Limits
    private var counts: [ClientAddress: Count] = [:]
    private var strangers = 0

    public init(limits: Limits) { self.limits = limits }

    /// Addresses with a connection.
    public var count: Int { counts.count }

    /// A connection comes, of somebody who has not signed in yet.
    ///
    /// - Returns: whether it may stay. One that may not is not counted.
    public mutating func opened(_ address: ClientAddress) -> Bool {
        var count = counts[address] ?? Count()
        guard count.connections < limits.connections, count.strangers < limits.strangers,
            strangers < limits.allStrangers
        else { return false }
        count.connections += 1
        count.strangers += 1
        strangers += 1
        counts[address] = count
        return true
    }

    /// One of the strangers is none any more.
    public mutating func becameKnown(_ address: ClientAddress) {
        counts[address]?.strangers -= 1
        strangers -= 1
    }

    /// A connection that was counted has ended.
    public mutating func closed(_ address: ClientAddress, wasStranger: Bool) {
        if wasStranger { becameKnown(address) }
        counts[address]?.connections -= 1
        if counts[address]?.connections == 0 { counts[address] = nil }
    }
}
