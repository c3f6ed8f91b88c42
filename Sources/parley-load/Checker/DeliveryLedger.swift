import ParleyWire

/// What was sent, acknowledged and delivered to which device, and what that breaks of the promise: every
/// acknowledged message reaches every device of its conversation once, in one order.
///
/// Keeps one record a message and two numbers a device, judges what it can at once and the rest at the end
/// (``verdict()``). No I/O and no clock.
struct DeliveryLedger: Sendable {
    struct Message: Sendable {
        /// When it was due, in nanoseconds of the monotonic clock.
        var scheduled: Int64
        var cidHigh: UInt64
        /// 0 until an answer or a delivery tells it.
        var mid: UInt64 = 0
        var seq: Int64 = 0
        var sender: Int32
        /// Devices that still lack it.
        var missing: Int32
        var isMeasured: Bool
        var isAcknowledged = false
        /// Its send went out again after an error: later ones may have overtaken it.
        var isRepeated = false
        /// Refused for good: it must appear nowhere.
        var isRefused = false
    }

    struct Device: Sendable {
        /// Of what it has, from the socket and from history.
        var highestSeq: Int64 = 0
        /// Of what the socket brought since the last resync.
        var highestOnSocket: Int64 = 0
        var distinct: Int64 = 0
        /// Was told to take what it missed from history: what the socket brings later may be there already, and may
        /// have left out some.
        var didResync = false
    }

    /// What a copy or an answer was.
    enum Arrival: Equatable, Sendable {
        /// The first, of a message due at that time.
        case first(scheduled: Int64, isMeasured: Bool)
        case repeated, foreign
        /// Not an arrival.
        case none
    }

    let map: LedgerMap
    private(set) var messages: [Message] = []
    private(set) var devices: [Device]
    var violations = Violations()
    /// Answers and deliveries that are still to come.
    private(set) var outstanding = 0
    private(set) var conversationsRead = 0
    /// A bit for each device of a message's conversation: whether it has the message.
    private var reached: [UInt64] = []
    private let words: Int
    /// Everything before is acknowledged and delivered, or known to be late.
    private var settled = 0
    private var lateOnes: Set<Int> = []
    /// The messages of each conversation; made when the first history comes.
    private var places: [[Int]]?

    init(_ map: LedgerMap) {
        self.map = map
        devices = Array(repeating: Device(), count: map.devices.count)
        words = (map.size + 63) / 64
    }

    @discardableResult
    mutating func apply(_ input: LedgerInput) -> Arrival {
        switch input {
        case .sent(let sender, let scheduled, let isMeasured, let cidHigh):
            messages.append(
                Message(
                    scheduled: scheduled,
                    cidHigh: cidHigh,
                    sender: Int32(sender),
                    missing: Int32(map.size),
                    isMeasured: isMeasured
                )
            )
            for _ in 0..<words { reached.append(0) }
            outstanding += 1 + map.size
            return .none
        case .acknowledged(let index, let mid, let seq):
            return acknowledged(index, mid: mid, seq: seq)
        case .repeated(let index):
            messages[index].isRepeated = true
            return .none
        case .refused(let index):
            refused(index)
            return .none
        case .delivered(let tag, let device, let mid, let seq):
            return delivered(tag, to: device, mid: mid, seq: seq)
        case .resynced(let device):
            devices[device].didResync = true
            devices[device].highestOnSocket = 0
            return .none
        case .caughtUp(let tag, let device, let mid, let seq):
            return caughtUp(tag, to: device, mid: mid, seq: seq)
        case .strayAnswer(let device, let mid, let seq):
            violations.add(.leaked, "an answer to a send that \(name(device)) never made: \(describe(mid, seq))")
            return .foreign
        case .history(let conversation, let entries):
            judge(entries, of: conversation)
            return .none
        }
    }

    /// The cid of a message.
    func cid(of index: Int) -> ClientMessageID? {
        ClientMessageID(high: messages[index].cidHigh, low: MessageTag(run: map.run, index: index).low)
    }

    /// The place of a cid that this ledger made for that device; nil for any other.
    func index(of cid: ClientMessageID, from sender: Int) -> Int? {
        guard let index = index(of: MessageTag(cid)), messages[index].cidHigh == cid.high,
            Int(messages[index].sender) == sender
        else { return nil }
        return index
    }

    func index(of tag: MessageTag?) -> Int? {
        guard let index = tag?.index(run: map.run), index < messages.count else { return nil }
        return index
    }

    func hasReached(_ index: Int, _ device: Int) -> Bool {
        let place = device % map.size
        return reached[index * words + place / 64] >> UInt64(place % 64) & 1 == 1
    }

    /// Acknowledged messages that were due before `deadline` and that a device still lacks.
    mutating func late(before deadline: Int64) -> Int {
        while settled < messages.count, messages[settled].scheduled < deadline {
            if !isSettled(settled) { lateOnes.insert(settled) }
            settled += 1
        }
        lateOnes = lateOnes.filter { !isSettled($0) }
        return lateOnes.count { messages[$0].isAcknowledged }
    }

    private func isSettled(_ index: Int) -> Bool {
        messages[index].isRefused || messages[index].isAcknowledged && messages[index].missing == 0
    }

    // Answers.

    private mutating func acknowledged(_ index: Int, mid: UInt64, seq: Int64) -> Arrival {
        identify(index, mid: mid, seq: seq)
        guard !messages[index].isAcknowledged else { return .repeated }
        messages[index].isAcknowledged = true
        outstanding -= 1
        return .first(scheduled: messages[index].scheduled, isMeasured: messages[index].isMeasured)
    }

    private mutating func refused(_ index: Int) {
        guard !messages[index].isRefused, !messages[index].isAcknowledged else { return }
        messages[index].isRefused = true
        outstanding -= 1 + Int(messages[index].missing)
    }

    // Copies.

    private mutating func delivered(_ tag: MessageTag?, to device: Int, mid: UInt64, seq: Int64) -> Arrival {
        guard let index = place(of: tag, for: device, mid: mid, seq: seq) else { return .foreign }
        let highest = devices[device].highestOnSocket
        if seq <= highest {
            let isAgain = hasReached(index, device)
            violations.add(
                isAgain ? .duplicated : .reordered,
                "\(describe(index)) reached \(name(device)) \(isAgain ? "again, " : "")after seq \(highest)"
            )
        }
        devices[device].highestOnSocket = max(highest, seq)
        return reach(index, device)
    }

    private mutating func caughtUp(_ tag: MessageTag?, to device: Int, mid: UInt64, seq: Int64) -> Arrival {
        guard let index = place(of: tag, for: device, mid: mid, seq: seq) else { return .foreign }
        return reach(index, device)
    }

    /// Where a copy belongs; nil, and a leak, for one that does not belong to that device.
    private mutating func place(of tag: MessageTag?, for device: Int, mid: UInt64, seq: Int64) -> Int? {
        guard let index = index(of: tag),
            map.conversation(of: Int(messages[index].sender)) == map.conversation(of: device)
        else {
            violations.add(.leaked, "\(describe(mid, seq)) reached \(name(device)), who is not of its conversation")
            return nil
        }
        identify(index, mid: mid, seq: seq)
        return index
    }

    private mutating func reach(_ index: Int, _ device: Int) -> Arrival {
        guard !hasReached(index, device) else { return .repeated }
        let place = device % map.size
        reached[index * words + place / 64] |= 1 << UInt64(place % 64)
        messages[index].missing -= 1
        if !messages[index].isRefused { outstanding -= 1 }
        devices[device].highestSeq = max(devices[device].highestSeq, messages[index].seq)
        devices[device].distinct += 1
        return .first(scheduled: messages[index].scheduled, isMeasured: messages[index].isMeasured)
    }

    /// All observers agree on a message's id and place; a second one is a second copy.
    private mutating func identify(_ index: Int, mid: UInt64, seq: Int64) {
        if messages[index].mid == 0 {
            (messages[index].mid, messages[index].seq) = (mid, seq)
        } else if messages[index].mid != mid || messages[index].seq != seq {
            violations.add(.duplicated, "\(describe(index)) is also \(describe(mid, seq))")
        }
    }

    // History.

    private mutating func judge(_ history: [HistoryEntry], of conversation: Int) {
        if places == nil {
            var made = Array(repeating: [Int](), count: map.conversations.count)
            for (index, message) in messages.enumerated() {
                made[map.conversation(of: Int(message.sender))].append(index)
            }
            places = made
        }
        conversationsRead += 1
        judge(history, of: conversation, places: places?[conversation] ?? [])
    }
}
