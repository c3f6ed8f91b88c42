import ArgumentParser

/// What is assumed of the users, and of how full the servers may be. All shares are of one.
struct CapacityAssumptions: ParsableArguments {
    @Option(help: "Users who come on a day.")
    var dau = 50_000_000.0

    @Option(help: "Share of them that is online at peak, each device counted: most open the app for minutes a day.")
    var onlineShare = 0.2

    @Option(help: "Messages that a user sends a day: the largest messengers count about 50.")
    var messages = 40.0

    @Option(help: "Peak over mean, of everything that users do: an evening is about twice a day's average.")
    var peak = 2.0

    @Option(help: "Share of messages that goes to groups: most of what people write is to one person.")
    var groupShare = 0.3

    @Option(help: "Members of a group, the sender too, averaged over messages: most groups are families and friends.")
    var groupSize = 10.0

    @Option(help: "Friends of a user.")
    var friends = 50.0

    @Option(help: "Share of friends that a client watches: those on its screen, not the whole list.")
    var watchedShare = 0.2

    @Option(help: "Times that a user comes online or goes offline a day: ten looks at the app.")
    var presenceChanges = 20.0

    @Option(help: "Share of daily users who search.")
    var searchShare = 0.2

    @Option(help: "Searches of such a user a day.")
    var searches = 10.0

    @Option(help: "Requests for suggestions in a search: one for each of 20 bytes typed.")
    var keystrokes = 20.0

    @Option(help: "Bytes that PostgreSQL stores for a message, indexes included: measured with 100 characters.")
    var messageBytes = MeasuredCosts.storedBytes

    @Option(help: "Copies of everything PostgreSQL stores, the first one counted: a primary and two standbys.")
    var replication = 3.0

    @Option(help: "Hours of messages that wait in a user's queue for the slowest device: a night.")
    var queueHours = 8.0

    @Option(help: "How full a process may be at peak: the rest is for its neighbour's failure, for drains and bursts.")
    var utilisation = 0.6

    @Option(help: "Sessions that a gateway takes: its PARLEY_CAPACITY.")
    var sessionsPerGateway = 18_000.0

    @Option(help: "Seconds between position checks of a session: the gateways' PARLEY_HEARTBEAT_MS.")
    var heartbeat = 25.0

    @Option(help: "Calls a second that keep a Redis shard busy, besides sends: measured on one core.")
    var redisCalls = MeasuredCosts.redisCalls

    @Option(help: "Memory of a Redis shard, in GB: its maxmemory. More takes long to load after a restart.")
    var shardGb = 32.0

    func validate() throws {
        let bounds: [(String, Double, ClosedRange<Double>)] = [
            ("dau", dau, 1...1e11), ("online-share", onlineShare, 0...1), ("messages", messages, 0...1e6),
            ("peak", peak, 1...1000), ("group-share", groupShare, 0...1), ("group-size", groupSize, 2...1e6),
            ("friends", friends, 0...1e6), ("watched-share", watchedShare, 0...1),
            ("presence-changes", presenceChanges, 0...1e6), ("search-share", searchShare, 0...1),
            ("searches", searches, 0...1e6), ("keystrokes", keystrokes, 0...1e6),
            ("message-bytes", messageBytes, 1...1e6), ("replication", replication, 1...100),
            ("queue-hours", queueHours, 0...10_000), ("utilisation", utilisation, 0.01...1),
            ("sessions-per-gateway", sessionsPerGateway, 1...1e7), ("heartbeat", heartbeat, 0.1...1e5),
            ("redis-calls", redisCalls, 1...1e9), ("shard-gb", shardGb, 0.1...1e5),
        ]
        for (name, value, range) in bounds where !range.contains(value) {
            let (low, high) = (Working.shown(range.lowerBound), Working.shown(range.upperBound))
            throw ValidationError("--\(name) must be from \(low) to \(high)")
        }
    }
}
