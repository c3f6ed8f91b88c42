public import ParleyWire

/// What a session has acknowledged and not yet passed on, and which messages that delivers.
///
/// Acks come one for each event at worst; they are passed on together. Of the messages written to the socket a bounded
/// number is remembered, for the delivered receipts that their acks stand for.
public struct AckState: Sendable {
    private struct Delivery {
        var q: Int64
        var seq: Int64
    }

    private var written: [ConversationID: [Delivery]] = [:]
    private var acknowledged: Int64
    private var passedOn: Int64
    /// Receipts are a courtesy: a client that never acks costs no more memory than this many.
    private static let limit = 256
    private var count = 0

    public init(cursor: Int64) {
        acknowledged = cursor
        passedOn = cursor
    }

    /// Somebody else's message was written to the socket.
    public mutating func wrote(q: Int64, conversation: ConversationID, seq: Int64) {
        guard count < Self.limit else {
            // The receipt of the last one kept comes late, then, but says as much.
            if let last = written[conversation]?.indices.last {
                written[conversation]?[last] = Delivery(q: q, seq: seq)
            }
            return
        }
        count += 1
        written[conversation, default: []].append(Delivery(q: q, seq: seq))
    }

    /// The client has handled everything up to `q`. A position beyond what was written means what was written.
    public mutating func acknowledge(_ q: Int64, written cursor: Int64) {
        acknowledged = max(acknowledged, min(q, cursor))
    }

    public var isDirty: Bool { acknowledged > passedOn }

    /// What is to be passed on now: the position, and for each conversation the highest sequence number delivered.
    public mutating func take() -> (q: Int64, delivered: [(ConversationID, Int64)])? {
        guard isDirty else { return nil }
        passedOn = acknowledged
        var delivered: [(ConversationID, Int64)] = []
        for (conversation, deliveries) in written {
            let done = deliveries.prefix { $0.q <= acknowledged }
            guard let last = done.last else { continue }
            delivered.append((conversation, last.seq))
            count -= done.count
            let rest = Array(deliveries.dropFirst(done.count))
            written[conversation] = rest.isEmpty ? nil : rest
        }
        return (acknowledged, delivered)
    }
}
