import ParleyWire

extension DeliveryLedger {
    /// The judgement once everything has arrived that will, histories included.
    func verdict() -> Violations {
        var verdict = violations
        var missing = Array(repeating: Int64(0), count: devices.count)
        var lastSeq = Array(repeating: Int64(0), count: devices.count)
        for (index, message) in messages.enumerated() {
            let sender = Int(message.sender)
            if message.isRefused, Int(message.missing) < map.size {
                verdict.add(.leaked, "\(describe(index)) was refused and yet delivered")
            }
            guard message.isAcknowledged else { continue }
            for device in map.devices(of: map.conversation(of: sender)) where message.missing > 0 {
                if hasReached(index, device) { continue }
                verdict.add(.lost, "\(describe(index)) did not reach \(name(device))")
                if message.seq < devices[device].highestSeq { missing[device] += 1 }
            }
            guard !message.isRepeated else { continue }
            if message.seq < lastSeq[sender] {
                verdict.add(.reordered, "\(describe(index)) was sent by \(name(sender)) after seq \(lastSeq[sender])")
            }
            lastSeq[sender] = max(lastSeq[sender], message.seq)
        }
        // A hole that no lost message explains. After a resync seqs may have jumped.
        for (device, lost) in missing.enumerated() where !devices[device].didResync {
            let holes = Int(devices[device].highestSeq - devices[device].distinct - lost)
            verdict.add(.reordered, count: holes, "\(name(device)) never saw \(holes) seqs below its highest")
        }
        return verdict
    }

    /// Holds a conversation's history, oldest first, against its messages.
    mutating func judge(_ history: [HistoryEntry], of conversation: Int, places: [Int]) {
        let id = map.conversations[conversation]
        var copies: [Int: Int] = [:]
        var last: Int64 = 0
        for entry in history {
            if entry.seq <= last {
                violations.add(
                    .reordered,
                    "\(describe(entry.mid, entry.seq)) stands in the history of \(id) after seq \(last)"
                )
            }
            last = max(last, entry.seq)
            guard let index = index(of: entry.tag),
                map.conversation(of: Int(messages[index].sender)) == conversation, !messages[index].isRefused
            else {
                violations.add(.leaked, "\(describe(entry.mid, entry.seq)) does not belong into the history of \(id)")
                continue
            }
            copies[index, default: 0] += 1
            if copies[index] != 1 {
                violations.add(.duplicated, "\(describe(index)) stands in the history of \(id) again")
            } else if messages[index].mid != 0, messages[index].mid != entry.mid || messages[index].seq != entry.seq {
                violations.add(.duplicated, "\(describe(index)) is \(describe(entry.mid, entry.seq)) in history")
            }
        }
        for index in places where messages[index].isAcknowledged && copies[index] == nil {
            violations.add(.lost, "\(describe(index)) is not in the history of \(id)")
        }
    }

    // Words for the people who read a violation.

    func name(_ device: Int) -> String { "\(map.devices[device].user) (\(map.devices[device].device))" }

    func describe(_ index: Int) -> String {
        let message = messages[index]
        let id = map.conversations[map.conversation(of: Int(message.sender))]
        guard message.mid != 0 else { return "the message with cid \(cid(of: index)?.description ?? "?") of \(id)" }
        return "message \(message.mid) (seq \(message.seq) of \(id))"
    }

    func describe(_ mid: UInt64, _ seq: Int64) -> String { "message \(mid) (seq \(seq))" }
}
