import ParleyWire

/// What was sent, acknowledged and delivered to which device, and what that breaks of the promise: every
/// acknowledged message reaches both devices of its pair once, in one order.
///
/// Devices are numbered from 0; 2k and 2k + 1 are a pair with a conversation of their own. Keeps one record a
/// message and two numbers a device, and judges what it can at once.
struct DeliveryLedger: Sendable {
    struct Message: Sendable {
        /// When it was due, in nanoseconds of the monotonic clock.
        var scheduled: Int64
        var cidHigh: UInt64
        /// 0 until an answer or a delivery tells it.
        var mid: UInt64 = 0
        var seq: Int64 = 0
        var sender: Int32
        var isMeasured: Bool
        var isAcknowledged = false
        /// Its send went out again after an error: later ones may have overtaken it.
        var isRepeated = false
        /// Refused for good: it must appear nowhere.
        var isRefused = false
        var reachedSender = false
        var reachedPartner = false
    }

    struct Device: Sendable {
        var highestSeq: Int64 = 0
        var distinct: Int64 = 0
        /// Was told to take what it missed from history: its deliveries are judged there.
        var didResync = false
    }

    /// What a copy or an answer was.
    enum Arrival: Equatable {
        /// The first, of a message due at that time.
        case first(scheduled: Int64, isMeasured: Bool)
        case repeated, foreign
    }

    let run: UInt32
    private(set) var messages: [Message] = []
    private(set) var devices: [Device]
    private(set) var violations = Violations()
    /// Answers and deliveries that are still to come.
    private(set) var outstanding = 0

    init(devices: Int, run: UInt32) {
        self.devices = Array(repeating: Device(), count: devices)
        self.run = run
    }

    static func partner(of device: Int) -> Int { device ^ 1 }

    /// Enters a send.
    /// - Parameter unixMilliseconds: by the server's clock, for the cid.
    mutating func send(
        from sender: Int,
        scheduled: Int64,
        isMeasured: Bool,
        unixMilliseconds: Int64,
        random: UInt64
    ) -> (index: Int, cid: ClientMessageID) {
        let tag = MessageTag(run: run, index: messages.count)
        let high = UInt64(unixMilliseconds) << 16 | 7 << 12 | random & 0xFFF
        guard let cid = ClientMessageID(high: high, low: tag.low) else {
            preconditionFailure("a cid of version 7 by construction")
        }
        messages.append(
            Message(scheduled: scheduled, cidHigh: high, sender: Int32(sender), isMeasured: isMeasured)
        )
        outstanding += 3
        return (messages.count - 1, cid)
    }

    /// The cid of a message, to send it again.
    func cid(of index: Int) -> ClientMessageID? {
        ClientMessageID(high: messages[index].cidHigh, low: MessageTag(run: run, index: index).low)
    }

    /// The ledger's place of a cid that this ledger made for that device; nil for any other.
    func index(of cid: ClientMessageID, from sender: Int) -> Int? {
        guard let index = MessageTag(cid).index(run: run), index < messages.count,
            messages[index].cidHigh == cid.high, Int(messages[index].sender) == sender
        else { return nil }
        return index
    }

    mutating func acknowledged(_ cid: ClientMessageID, to sender: Int, mid: UInt64, seq: Int64) -> Arrival {
        guard let index = index(of: cid, from: sender) else {
            violations.leaked += 1
            return .foreign
        }
        identify(index, mid: mid, seq: seq)
        guard !messages[index].isAcknowledged else { return .repeated }
        messages[index].isAcknowledged = true
        outstanding -= 1
        return .first(scheduled: messages[index].scheduled, isMeasured: messages[index].isMeasured)
    }

    mutating func repeated(_ index: Int) {
        messages[index].isRepeated = true
    }

    /// A send was refused for good.
    mutating func refused(_ index: Int) {
        guard !messages[index].isRefused, !messages[index].isAcknowledged else { return }
        messages[index].isRefused = true
        outstanding -= 3
    }

    mutating func delivered(_ tag: MessageTag?, to device: Int, mid: UInt64, seq: Int64) -> Arrival {
        guard let index = tag?.index(run: run), index < messages.count,
            Int(messages[index].sender) / 2 == device / 2
        else {
            violations.leaked += 1
            return .foreign
        }
        identify(index, mid: mid, seq: seq)
        let isSender = Int(messages[index].sender) == device
        guard !(isSender ? messages[index].reachedSender : messages[index].reachedPartner) else {
            violations.duplicated += 1
            return .repeated
        }
        if isSender { messages[index].reachedSender = true } else { messages[index].reachedPartner = true }
        outstanding -= 1
        if seq <= devices[device].highestSeq { violations.reordered += 1 }
        devices[device].highestSeq = max(devices[device].highestSeq, seq)
        devices[device].distinct += 1
        return .first(scheduled: messages[index].scheduled, isMeasured: messages[index].isMeasured)
    }

    mutating func resynced(_ device: Int) {
        devices[device].didResync = true
    }

    /// All observers agree on a message's id and place; a second one is a second copy.
    private mutating func identify(_ index: Int, mid: UInt64, seq: Int64) {
        if messages[index].mid == 0 {
            (messages[index].mid, messages[index].seq) = (mid, seq)
        } else if messages[index].mid != mid || messages[index].seq != seq {
            violations.duplicated += 1
        }
    }
}
