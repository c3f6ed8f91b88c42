public import NIOCore

enum ServerField: Int, FieldName {
    case op, id, type, q, conv, seq, mid, from, ts, body, data, replyTo, cid, rev, user, read, delivered, title, role
    case version, dup, session, epoch, head, mode, now, heartbeatMs, maxFrame, code, message, retryMs, reason,
        reconnectMs, url
    case items, status, lastActive, text, score
    case muted, mutedUntil

    static let table = makeTable()
}

typealias ServerFields = FrameFields<ServerField, 41>

extension ServerFrame {
    /// Decodes a frame from bytes that are known to be UTF-8. An operation this version does not know comes out as
    /// `unknown`.
    /// - Throws: `bad_frame` for whatever does not follow the protocol.
    public static func decode(_ bytes: UnsafeRawBufferPointer) throws(FrameError) -> ServerFrame {
        let fields = try ServerFields(scanning: bytes)
        return ServerFrame(try fields.operation(), id: fields.echo(.id))
    }

    /// As ``decode(_:)``, of a buffer's readable bytes.
    public static func decode(_ buffer: ByteBuffer) throws(FrameError) -> ServerFrame {
        try buffer.readableBytesSpan.withUnsafeBytes { (bytes) throws(FrameError) in try decode(bytes) }
    }
}

extension Event {
    /// Decodes an event's JSON object, as ``encode(into:)`` writes it.
    /// - Throws: `bad_frame`.
    public static func decode(_ bytes: UnsafeRawBufferPointer) throws(FrameError) -> Event {
        try ServerFields(scanning: bytes).event()
    }

    /// As ``decode(_:)``, of a buffer's readable bytes.
    public static func decode(_ buffer: ByteBuffer) throws(FrameError) -> Event {
        try buffer.readableBytesSpan.withUnsafeBytes { (bytes) throws(FrameError) in try decode(bytes) }
    }
}

extension ServerFields {
    fileprivate init(scanning bytes: UnsafeRawBufferPointer) throws(FrameError) {
        self.init()
        do throws(JSONError) { try scan(bytes) } catch { throw FrameError(.badFrame, "JSON: \(error)") }
    }

    fileprivate func operation() throws(FrameError) -> ServerFrame.Operation {
        let op = try required(.op, string(.op))
        switch op {
        case "event": return .event(q: try number(.q), try event())
        case "sent": return .sent(try sent())
        case "ready": return .ready(try ready())
        case "live": return .live(q: try number(.q))
        case "pong": return .pong(head: try number(.head))
        case "error": return .error(try failure())
        case "goaway":
            let reconnect = try number(.reconnectMs)
            return .goaway(.init(reason: try text(.reason), reconnectMilliseconds: reconnect, url: try string(.url)))
        case "suggestions": return .suggestions(try suggestions())
        case "receipt":
            let (read, delivered) = (try integer(.read), try integer(.delivered))
            return .receipt(.init(conv: try named(.conv), user: try named(.user), read: read, delivered: delivered))
        case "presence":
            let status = try choice(.status, ServerFrame.Status.self)
            return .presence(.init(user: try named(.user), status: status, lastActive: try integer(.lastActive)))
        case "typing": return .typing(conv: try named(.conv), user: try named(.user))
        default: return .unknown(op)
        }
    }

    private func text(_ name: ServerField) throws(FrameError) -> String {
        try required(name, string(name))
    }

    private func number(_ name: ServerField) throws(FrameError) -> Int64 {
        try required(name, integer(name))
    }

    private func named<ID: WireIdentifier>(_ name: ServerField) throws(FrameError) -> ID {
        try required(name, identifier(name))
    }

    private func choice<T: RawRepresentable<String>>(_ name: ServerField, _: T.Type) throws(FrameError) -> T {
        guard let value = T(rawValue: try text(name)) else {
            throw FrameError(.badFrame, "\(name.wireName) is unknown")
        }
        return value
    }

    private func ready() throws(FrameError) -> ServerFrame.Ready {
        .init(
            user: try named(.user),
            session: try text(.session),
            epoch: try text(.epoch),
            head: try number(.head),
            mode: try choice(.mode, ServerFrame.Mode.self),
            now: try number(.now),
            heartbeatMilliseconds: try number(.heartbeatMs),
            maxFrame: try number(.maxFrame)
        )
    }

    private func sent() throws(FrameError) -> ServerFrame.Sent {
        .init(
            cid: try named(.cid),
            conv: try named(.conv),
            mid: try named(.mid),
            seq: try number(.seq),
            ts: try number(.ts),
            rev: try integer(.rev),
            dup: try flag(.dup)
        )
    }

    private func failure() throws(FrameError) -> ServerFrame.Failure {
        .init(
            try choice(.code, ErrorCode.self),
            try text(.message),
            cid: echo(.cid),
            retryMilliseconds: try integer(.retryMs)
        )
    }

    private func suggestions() throws(FrameError) -> [ServerFrame.Suggestion] {
        let items = try array(.items) { (value) throws(FrameError) -> ServerFrame.Suggestion in
            let fields = try ServerFields(scanning: value.bytes)
            return .init(text: try fields.text(.text), score: fields[.score]?.double())
        }
        return try required(.items, items)
    }

    fileprivate func event() throws(FrameError) -> Event {
        var event = Event(EventType(rawValue: try text(.type)) ?? .unknown, conv: try identifier(.conv))
        event.seq = try integer(.seq)
        event.mid = try identifier(.mid)
        event.from = try identifier(.from)
        event.ts = try integer(.ts)
        event.body = try string(.body)
        event.data = try object(.data)?.raw
        event.replyTo = try identifier(.replyTo)
        event.cid = try identifier(.cid)
        event.rev = try integer(.rev)
        event.user = try identifier(.user)
        event.read = try integer(.read)
        event.delivered = try integer(.delivered)
        event.title = try string(.title)
        event.role = try string(.role)
        event.version = try integer(.version)
        event.muted = self[.muted] == nil ? nil : try flag(.muted)
        event.mutedUntil = try integer(.mutedUntil)
        return event
    }
}
