/// What broke the promise. Zero everywhere, or the run failed.
struct Violations: Equatable, Sendable {
    /// Acknowledged, and missing on a device or in history.
    var lost = 0
    /// A second copy on a device or in history, or a second identity.
    var duplicated = 0
    /// Out of order on a device, in history, or against the order of one connection's sends; a hole in the seqs.
    var reordered = 0
    /// On a device or in a history where it does not belong.
    var leaked = 0

    static func += (left: inout Violations, right: Violations) {
        left.lost += right.lost
        left.duplicated += right.duplicated
        left.reordered += right.reordered
        left.leaked += right.leaked
    }
}

extension DeliveryLedger {
    /// The judgement once everything has arrived that will.
    func verdict() -> Violations {
        var verdict = violations
        var missing = Array(repeating: Int64(0), count: devices.count)
        var lastSeq = Array(repeating: Int64(0), count: devices.count)
        for message in messages {
            let sender = Int(message.sender)
            if message.isRefused, message.reachedSender || message.reachedPartner { verdict.leaked += 1 }
            guard message.isAcknowledged else { continue }
            for (device, reached) in [
                (sender, message.reachedSender), (Self.partner(of: sender), message.reachedPartner),
            ] where !reached && !devices[device].didResync {
                verdict.lost += 1
                if message.seq < devices[device].highestSeq { missing[device] += 1 }
            }
            guard !message.isRepeated else { continue }
            if message.seq < lastSeq[sender] { verdict.reordered += 1 }
            lastSeq[sender] = max(lastSeq[sender], message.seq)
        }
        // A hole that no lost message explains.
        for (device, lost) in zip(devices, missing) where !device.didResync {
            verdict.reordered += Int(max(0, device.highestSeq - device.distinct - lost))
        }
        return verdict
    }

    /// Judges the history of the conversation of devices 2 × `pair` and the one after, oldest first.
    func judge(history: [(mid: UInt64, seq: Int64, tag: MessageTag?)], ofPair pair: Int, indices: [Int]) -> Violations {
        var verdict = Violations()
        var copies: [Int: Int] = [:]
        var last: Int64 = 0
        for entry in history {
            if entry.seq <= last { verdict.reordered += 1 }
            last = max(last, entry.seq)
            guard let index = entry.tag?.index(run: run), index < messages.count,
                Int(messages[index].sender) / 2 == pair, !messages[index].isRefused
            else {
                verdict.leaked += 1
                continue
            }
            copies[index, default: 0] += 1
            if messages[index].mid != 0, messages[index].mid != entry.mid { verdict.duplicated += 1 }
        }
        verdict.duplicated += copies.values.reduce(0) { $0 + $1 - 1 }
        for index in indices where messages[index].isAcknowledged && copies[index] == nil { verdict.lost += 1 }
        return verdict
    }

    /// The messages of each pair, by place in the ledger.
    func indicesByPair() -> [[Int]] {
        var pairs = Array(repeating: [Int](), count: devices.count / 2)
        for (index, message) in messages.enumerated() { pairs[Int(message.sender) / 2].append(index) }
        return pairs
    }
}
