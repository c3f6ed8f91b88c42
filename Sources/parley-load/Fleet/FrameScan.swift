import NIOCore
import ParleyWire

/// The few fields of a frame that the generator needs, read without allocating.
struct FrameScan {
    enum Operation { case event, sent, other }

    var operation = Operation.other
    /// Of an event: whether its type is `message`.
    var isMessage = false
    var q: Int64 = 0
    var seq: Int64 = 0
    var mid: UInt64 = 0
    var cid: ClientMessageID?
    /// The message's place in the ledger, from the front of its body.
    var tag: MessageTag?

    /// Nil for what is not a JSON object.
    init?(_ text: ByteBuffer) {
        do throws(JSONError) {
            try text.readableBytesSpan.withUnsafeBytes { (bytes) throws(JSONError) in try scan(bytes) }
        } catch {
            return nil
        }
    }

    /// A durable event.
    init(_ event: Event, q: Int64) {
        (operation, self.q) = (.event, q)
        isMessage = event.type == .message
        (seq, mid, cid) = (event.seq ?? 0, event.mid?.rawValue ?? 0, event.cid)
        var body = event.body ?? ""
        tag = body.withUTF8 { MessageTag(body: .init($0)) }
    }

    private mutating func scan(_ bytes: UnsafeRawBufferPointer) throws(JSONError) {
        var scanner = JSONScanner(bytes)
        try scanner.beginObject()
        while let key = try scanner.nextKey() {
            let value = try scanner.value()
            guard let name = key.plainContent else { continue }
            switch name.count {
            case 1 where name[0] == UInt8(ascii: "q"): q = value.integer() ?? 0
            case 2 where name.equals("op"): operation = Self.operation(value)
            case 3 where name.equals("seq"): seq = value.integer() ?? 0
            case 3 where name.equals("mid"): mid = value.identifier(as: MessageID.self)?.rawValue ?? 0
            case 3 where name.equals("cid"): cid = value.identifier()
            case 4 where name.equals("type"): isMessage = value.plainContent?.equals("message") ?? false
            case 4 where name.equals("body"): tag = value.plainContent.flatMap { MessageTag(body: $0) }
            default: break
            }
        }
    }

    private static func operation(_ value: JSONValue) -> Operation {
        guard let name = value.plainContent else { return .other }
        return name.equals("event") ? .event : name.equals("sent") ? .sent : .other
    }
}

extension UnsafeRawBufferPointer {
    fileprivate func equals(_ text: StaticString) -> Bool {
        count == text.utf8CodeUnitCount && (0..<count).allSatisfy { self[$0] == text.utf8Start[$0] }
    }
}
