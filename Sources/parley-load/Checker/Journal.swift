import Foundation

/// The file that a ledger's inputs are written to, so that they can be judged again, elsewhere.
///
/// The first line is the map as JSON; then a line an input, its kind in one letter (``line(of:)``); the last line is
/// `end`. A journal without it was cut off.
final class Journal {
    static let version = "parley-load journal 2"
    static let end = "end"
    /// Bytes collected before they are written.
    private static let chunk = 1 << 16

    let path: String
    private let descriptor: Int32
    private var buffer = ""
    /// Why the journal is incomplete; nothing more is written then.
    private(set) var failure: String?

    init(path: String, map: LedgerMap) throws {
        self.path = path
        descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw LoadError("\(path): \(Self.lastError())") }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes]
        buffer = "\(Self.version)\n" + String(decoding: try encoder.encode(map), as: UTF8.self) + "\n"
        flush()
        if let failure { throw LoadError(failure) }
    }

    deinit { Foundation.close(descriptor) }

    func append(_ input: LedgerInput) {
        buffer += Self.line(of: input)
        buffer += "\n"
        if buffer.utf8.count >= Self.chunk { flush() }
    }

    func finish() {
        buffer += "\(Self.end)\n"
        flush()
    }

    func flush() {
        defer { buffer.removeAll(keepingCapacity: true) }
        guard failure == nil else { return }
        buffer.withUTF8 { bytes in
            var rest = UnsafeRawBufferPointer(bytes)
            while !rest.isEmpty {
                let written = write(descriptor, rest.baseAddress, rest.count)
                if written < 0, errno == EINTR { continue }
                guard written >= 0 else {
                    failure = "the journal \(path) could not be written: \(Self.lastError())"
                    return
                }
                rest = UnsafeRawBufferPointer(rebasing: rest[written...])
            }
        }
    }

    private static func lastError() -> String { String(cString: strerror(errno)) }
}

extension Journal {
    /// `s sender scheduled measured cid-high`, `a index mid seq`, `p index`, `f index`, `d tag device mid seq`,
    /// `y device`, `c tag device mid seq`, `x device mid seq`, `h conversation count` and so many `e mid seq tag`.
    /// A tag is hexadecimal, `-` where there is none.
    static func line(of input: LedgerInput) -> String {
        switch input {
        case .sent(let sender, let scheduled, let isMeasured, let cidHigh):
            "s \(sender) \(scheduled) \(isMeasured ? 1 : 0) \(String(cidHigh, radix: 16))"
        case .acknowledged(let index, let mid, let seq): "a \(index) \(mid) \(seq)"
        case .repeated(let index): "p \(index)"
        case .refused(let index): "f \(index)"
        case .delivered(let tag, let device, let mid, let seq): "d \(text(tag)) \(device) \(mid) \(seq)"
        case .resynced(let device): "y \(device)"
        case .caughtUp(let tag, let device, let mid, let seq): "c \(text(tag)) \(device) \(mid) \(seq)"
        case .strayAnswer(let device, let mid, let seq): "x \(device) \(mid) \(seq)"
        case .history(let conversation, let entries):
            ([
                "h \(conversation) \(entries.count)"
            ] + entries.map { "e \($0.mid) \($0.seq) \(text($0.tag))" }).joined(separator: "\n")
        }
    }

    private static func text(_ tag: MessageTag?) -> String { tag.map { String($0.low, radix: 16) } ?? "-" }
}
