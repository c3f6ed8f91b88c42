import NIOCore

/// How many messages a gateway commits and delivers, as its entry in the registry shows it.
struct MessageRates: Sendable, Hashable {
    /// Since the start.
    private(set) var sent = 0
    private(set) var delivered = 0
    /// A second, since the entry was written before.
    private(set) var sendsPerSecond = 0
    private(set) var deliveriesPerSecond = 0
    private var at: NIODeadline

    init(at now: NIODeadline = .now()) { at = now }

    mutating func counted(sent: Int, delivered: Int, at now: NIODeadline = .now()) -> MessageRates {
        let seconds = max(0.001, Double((now - at).nanoseconds) / 1e9)
        sendsPerSecond = Int((Double(sent - self.sent) / seconds).rounded())
        deliveriesPerSecond = Int((Double(delivered - self.delivered) / seconds).rounded())
        (self.sent, self.delivered, at) = (sent, delivered, now)
        return self
    }

    var fields: [String] {
        [
            "sent", "\(sent)", "delivered", "\(delivered)", "sends_s", "\(sendsPerSecond)",
            "delivered_s", "\(deliveriesPerSecond)",
        ]
    }
}
