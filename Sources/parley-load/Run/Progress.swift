/// What happened since the last look, for the line that shows a run live.
struct Progress: Codable, Sendable {
    /// Deliveries to others.
    var latency = Latencies()
    var acked = 0
    // The rest counts from the beginning of the run.
    var connected = 0
    var errors = 0
    /// Acknowledged, due more than five seconds ago, and not everywhere.
    var late = 0
    /// Answers and deliveries that are still to come.
    var outstanding = 0
    /// Why the run cannot go on.
    var trouble: String?

    static func += (left: inout Progress, right: Progress) {
        left.latency += right.latency
        left.acked += right.acked
        left.connected += right.connected
        left.errors += right.errors
        left.late += right.late
        left.outstanding += right.outstanding
        left.trouble = left.trouble ?? right.trouble
    }
}

/// A second of a run, as the timeline keeps it.
struct TimelinePoint: Codable, Sendable {
    /// Seconds since the first message was due.
    var s: Double
    var warmup: Bool
    var acked: Int
    var p50: Double
    var p99: Double
    var connected: Int
    var errors: Int
    var late: Int
}

/// What a share of a run comes to once it is over.
struct Outcome: Codable, Sendable {
    var fleet = Fleet.Counts()
    var violations = Violations()
    /// Conversations with messages, and those whose history was read.
    var conversations = 0
    var conversationsRead = 0
    /// Of friends, as sockets showed them at the end.
    var pictures = 0
    var heartbeatsAnswered = 0
    /// Why the outcome is not the whole truth.
    var trouble: String?

    static func += (left: inout Outcome, right: Outcome) {
        left.fleet += right.fleet
        left.violations += right.violations
        left.conversations += right.conversations
        left.conversationsRead += right.conversationsRead
        left.pictures += right.pictures
        left.heartbeatsAnswered += right.heartbeatsAnswered
        left.trouble = left.trouble ?? right.trouble
    }
}
