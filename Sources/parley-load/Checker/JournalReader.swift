import Foundation

/// Judges a journal: the same inputs to the same ledger.
struct JournalReader {
    private(set) var ledger: DeliveryLedger
    /// Whether the run that wrote it came to its end.
    private(set) var isWhole = false
    private var lines: LineReader
    private let path: String
    private var number = 2

    init(path: String) throws {
        self.path = path
        lines = try LineReader(path: path)
        guard lines.next() == Journal.version[...] else { throw LoadError("\(path) is not a journal of this version") }
        guard let map = lines.next().flatMap({ try? JSONDecoder().decode(LedgerMap.self, from: Data($0.utf8)) }),
            map.isConsistent
        else { throw LoadError("\(path) line 2: not the map of a run") }
        ledger = DeliveryLedger(map)
    }

    /// Reads to the end, or to where the journal was cut off.
    /// - Throws: for a line that no run writes, unless it is the last.
    mutating func read() throws {
        while let line = lines.next() {
            number += 1
            if line == Journal.end[...] {
                isWhole = true
            } else if !isWhole, let input = parse(line), isPossible(input) {
                ledger.apply(input)
            } else if lines.next() != nil {
                throw LoadError("\(path) line \(number): not a line of a journal: \(line.prefix(80))")
            }
        }
    }

    private mutating func parse(_ line: Substring) -> LedgerInput? {
        let fields = line.split(separator: " ", omittingEmptySubsequences: false)
        func int<Integer: FixedWidthInteger>(_ place: Int, radix: Int = 10) -> Integer? {
            place < fields.count ? Integer(fields[place], radix: radix) : nil
        }
        /// Nil for what is not a tag; a tag of nil where the journal says so.
        func tag(_ place: Int) -> MessageTag?? {
            guard place < fields.count else { return nil }
            if fields[place] == "-" { return .some(nil) }
            return int(place, radix: 16).map { MessageTag(low: $0) }
        }
        switch fields[0] {
        case "s":
            guard let sender: Int = int(1), let scheduled: Int64 = int(2), let measured: Int = int(3),
                let high: UInt64 = int(4, radix: 16)
            else { return nil }
            return .sent(sender: sender, scheduled: scheduled, isMeasured: measured == 1, cidHigh: high)
        case "a":
            guard let index: Int = int(1), let mid: UInt64 = int(2), let seq: Int64 = int(3) else { return nil }
            return .acknowledged(index: index, mid: mid, seq: seq)
        case "p": return int(1).map { .repeated(index: $0) }
        case "f": return int(1).map { .refused(index: $0) }
        case "y": return int(1).map { .resynced(device: $0) }
        case "d", "c":
            guard let tag = tag(1), let device: Int = int(2), let mid: UInt64 = int(3), let seq: Int64 = int(4) else {
                return nil
            }
            return fields[0] == "d"
                ? .delivered(tag, device: device, mid: mid, seq: seq)
                : .caughtUp(tag, device: device, mid: mid, seq: seq)
        case "x":
            guard let device: Int = int(1), let mid: UInt64 = int(2), let seq: Int64 = int(3) else { return nil }
            return .strayAnswer(device: device, mid: mid, seq: seq)
        case "h":
            guard let conversation: Int = int(1), let count: Int = int(2) else { return nil }
            var entries: [HistoryEntry] = []
            for _ in 0..<count {
                guard let parts = lines.next()?.split(separator: " "), parts.count == 4, parts[0] == "e",
                    let mid = UInt64(parts[1]), let seq = Int64(parts[2])
                else { return nil }
                number += 1
                entries.append(
                    HistoryEntry(mid: mid, seq: seq, tag: UInt64(parts[3], radix: 16).map { MessageTag(low: $0) })
                )
            }
            return .history(conversation: conversation, entries)
        default: return nil
        }
    }

    /// Whether the ledger has what the input names.
    private func isPossible(_ input: LedgerInput) -> Bool {
        let devices = ledger.map.devices.indices
        let messages = ledger.messages.indices
        return switch input {
        case .sent(let device, _, _, _), .delivered(_, let device, _, _), .resynced(let device),
            .caughtUp(_, let device, _, _), .strayAnswer(let device, _, _):
            devices.contains(device)
        case .acknowledged(let index, _, _), .repeated(let index), .refused(let index): messages.contains(index)
        case .history(let conversation, _): ledger.map.conversations.indices.contains(conversation)
        }
    }
}

extension LedgerMap {
    fileprivate var isConsistent: Bool { size > 0 && devices.count == conversations.count * size }
}

/// The lines of a file, a chunk in memory at a time. A last line without its end is left out: it was cut off.
private struct LineReader {
    private let file: FileHandle
    private var buffer: [UInt8] = []
    private var position = 0

    init(path: String) throws {
        guard let file = FileHandle(forReadingAtPath: path) else { throw LoadError("\(path) cannot be read") }
        self.file = file
    }

    mutating func next() -> Substring? {
        while true {
            if let end = buffer[position...].firstIndex(of: UInt8(ascii: "\n")) {
                defer { position = end + 1 }
                return Substring(decoding: buffer[position..<end], as: UTF8.self)
            }
            buffer.removeFirst(position)
            position = 0
            guard let more = try? file.read(upToCount: 1 << 20), !more.isEmpty else { return nil }
            buffer += more
        }
    }
}
