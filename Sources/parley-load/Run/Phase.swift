/// A stretch of load: a warm-up, then what is measured. Times are nanoseconds of the monotonic clock, which all
/// processes of a machine share.
struct Phase: Codable, Sendable {
    /// Of the plan's rate; 1 is all of it.
    var factor: Double
    var start: Int64
    var measureFrom: Int64
    var end: Int64
}

/// What a phase measured, of the messages due after its warm-up.
struct PhaseResults: Codable, Sendable {
    var sent = 0
    var acked = 0
    /// Copies that reached a device, the senders' own among them.
    var delivered = 0
    /// For each acknowledged message, the devices of its conversation.
    var deliveriesExpected = 0
    /// Answers with an error, by code, those during the warm-up included.
    var errors: [String: Int] = [:]
    /// Of these, to devices that never lost a connection.
    var undisturbedErrors = 0
    /// From when a message was due to its arrival at another's device.
    var latency = Latencies()
    /// From when a message was due to its acknowledgement.
    var ack = Latencies()
    /// From when a connection was lost to a friend's socket that shows it.
    var gone = Latencies()
    /// Of the generator.
    var usage = GeneratorUsage()

    static func += (left: inout PhaseResults, right: PhaseResults) {
        left.sent += right.sent
        left.acked += right.acked
        left.delivered += right.delivered
        left.deliveriesExpected += right.deliveriesExpected
        left.errors.merge(right.errors, uniquingKeysWith: +)
        left.undisturbedErrors += right.undisturbedErrors
        left.latency += right.latency
        left.ack += right.ack
        left.gone += right.gone
        left.usage += right.usage
    }
}

/// What the generator used and moved.
struct GeneratorUsage: Codable, Sendable {
    /// Processor time.
    var microseconds = 0.0
    /// Of the clients' WebSockets, without TCP's and IP's own.
    var bytesToClients = 0
    var bytesFromClients = 0
    /// Polls that were answered.
    var requests = 0

    static func += (left: inout GeneratorUsage, right: GeneratorUsage) {
        left.microseconds += right.microseconds
        left.requests += right.requests
        left.bytesToClients += right.bytesToClients
        left.bytesFromClients += right.bytesFromClients
    }

    func since(_ earlier: GeneratorUsage) -> GeneratorUsage {
        GeneratorUsage(
            microseconds: microseconds - earlier.microseconds,
            bytesToClients: bytesToClients - earlier.bytesToClients,
            bytesFromClients: bytesFromClients - earlier.bytesFromClients,
            requests: requests - earlier.requests
        )
    }
}
