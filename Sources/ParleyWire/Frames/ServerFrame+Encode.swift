public import NIOCore

extension ServerFrame {
    /// Appends the frame's JSON.
    public func encode(into buffer: inout ByteBuffer) {
        buffer.beginJSONObject()
        operation.writeFields(into: &buffer)
        if let id { buffer.writeJSONField("id", raw: id.raw) }
        buffer.endJSONObject()
    }

    /// Appends an `event` frame around an event that was encoded before (``Event/encode(into:)``), at its position
    /// in one user's queue.
    /// - Parameter object: a JSON object without `op` and `q`; its first byte must be `{`.
    /// - Throws: `bad_frame` if it is not, and then nothing is written.
    public static func encodeEvent(
        q: Int64,
        object: UnsafeRawBufferPointer,
        into buffer: inout ByteBuffer
    ) throws(FrameError) {
        guard object.count >= 2, object[0] == UInt8(ascii: "{"), object[object.count - 1] == UInt8(ascii: "}") else {
            throw FrameError(.badFrame, "an event must be a JSON object")
        }
        let opening: StaticString = "{\"op\":\"event\",\"q\":"
        let count = opening.utf8CodeUnitCount
        // Once a socket and event: one write, whose bound holds twenty digits and a comma.
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count + 21 + object.count) { bytes in
            bytes.fill(UnsafeRawBufferPointer(start: opening.utf8Start, count: count), at: 0)
            let digits = UnsafeMutableRawBufferPointer(rebasing: bytes[count...])
            var end = count + digits.fill(decimal: q.magnitude, isNegative: q < 0)
            if object.count > 2 {
                bytes[end] = UInt8(ascii: ",")
                end += 1
            }
            bytes.fill(UnsafeRawBufferPointer(rebasing: object[1...]), at: end)
            return end + object.count - 1
        }
    }

    /// As ``encodeEvent(q:object:into:)``, of a buffer's readable bytes.
    public static func encodeEvent(
        q: Int64,
        object: ByteBuffer,
        into buffer: inout ByteBuffer
    ) throws(FrameError) {
        try object.readableBytesSpan.withUnsafeBytes { (bytes) throws(FrameError) in
            try encodeEvent(q: q, object: bytes, into: &buffer)
        }
    }
}

extension ServerFrame.Operation {
    fileprivate func writeFields(into buffer: inout ByteBuffer) {
        buffer.writeJSONField("op", name)
        switch self {
        case .ready(let ready):
            ready.writeFields(into: &buffer)
        case .live(let q):
            buffer.writeJSONField("q", q)
        case .sent(let sent):
            sent.writeFields(into: &buffer)
        case .event(let q, let event):
            buffer.writeJSONField("q", q)
            event.writeFields(into: &buffer)
        case .pong(let head):
            buffer.writeJSONField("head", head)
        case .error(let failure):
            if let cid = failure.cid { buffer.writeJSONField("cid", raw: cid.raw) }
            buffer.writeJSONField("code", failure.code.rawValue)
            buffer.writeJSONField("message", failure.message)
            if let retry = failure.retryMilliseconds { buffer.writeJSONField("retry_ms", retry) }
        case .goaway(let goaway):
            buffer.writeJSONField("reason", goaway.reason)
            buffer.writeJSONField("reconnect_ms", goaway.reconnectMilliseconds)
            if let url = goaway.url { buffer.writeJSONField("url", url) }
        case .suggestions(let items):
            items.write(into: &buffer)
        case .receipt(let receipt):
            buffer.writeJSONField("conv", receipt.conv)
            buffer.writeJSONField("user", receipt.user)
            if let read = receipt.read { buffer.writeJSONField("read", read) }
            if let delivered = receipt.delivered { buffer.writeJSONField("delivered", delivered) }
        case .presence(let presence):
            buffer.writeJSONField("user", presence.user)
            buffer.writeJSONField("status", presence.status.rawValue)
            if let lastActive = presence.lastActive { buffer.writeJSONField("last_active", lastActive) }
        case .typing(let conv, let user):
            buffer.writeJSONField("conv", conv)
            buffer.writeJSONField("user", user)
        case .unknown:
            break
        }
    }

    /// The `op` on the wire.
    public var name: String {
        switch self {
        case .ready: "ready"
        case .live: "live"
        case .sent: "sent"
        case .event: "event"
        case .pong: "pong"
        case .error: "error"
        case .goaway: "goaway"
        case .suggestions: "suggestions"
        case .receipt: "receipt"
        case .presence: "presence"
        case .typing: "typing"
        case .unknown(let name): name
        }
    }
}

extension ServerFrame.Ready {
    fileprivate func writeFields(into buffer: inout ByteBuffer) {
        buffer.writeJSONField("user", user)
        buffer.writeJSONField("session", session)
        buffer.writeJSONField("epoch", epoch)
        buffer.writeJSONField("head", head)
        buffer.writeJSONField("mode", mode.rawValue)
        buffer.writeJSONField("now", now)
        buffer.writeJSONField("heartbeat_ms", heartbeatMilliseconds)
        buffer.writeJSONField("max_frame", maxFrame)
    }
}

extension ServerFrame.Sent {
    /// Appends the JSON object that answers a send without a socket: the frame's members without `op`.
    public func encode(into buffer: inout ByteBuffer) {
        buffer.beginJSONObject()
        writeFields(into: &buffer)
        buffer.endJSONObject()
    }

    fileprivate func writeFields(into buffer: inout ByteBuffer) {
        buffer.writeJSONField("cid", cid)
        buffer.writeJSONField("conv", conv)
        buffer.writeJSONField("mid", mid)
        buffer.writeJSONField("seq", seq)
        buffer.writeJSONField("ts", ts)
        if let rev { buffer.writeJSONField("rev", rev) }
        if dup { buffer.writeJSONField("dup", true) }
    }
}

extension [ServerFrame.Suggestion] {
    fileprivate func write(into buffer: inout ByteBuffer) {
        buffer.writeJSONKey("items")
        buffer.beginJSONArray()
        for item in self {
            buffer.beginJSONElement()
            buffer.beginJSONObject()
            buffer.writeJSONField("text", item.text)
            if let score = item.score {
                buffer.writeJSONKey("score")
                buffer.writeJSONNumber(score)
            }
            buffer.endJSONObject()
        }
        buffer.endJSONArray()
    }
}

extension Event {
    /// Appends the event's JSON object, as queues hold it: without `op` and `q`.
    public func encode(into buffer: inout ByteBuffer) {
        buffer.beginJSONObject()
        writeFields(into: &buffer)
        buffer.endJSONObject()
    }

    fileprivate func writeFields(into buffer: inout ByteBuffer) {
        buffer.writeJSONField("type", type.rawValue)
        if let conv { buffer.writeJSONField("conv", conv) }
        if let seq { buffer.writeJSONField("seq", seq) }
        if let mid { buffer.writeJSONField("mid", mid) }
        if let from { buffer.writeJSONField("from", from) }
        if let ts { buffer.writeJSONField("ts", ts) }
        if let body { buffer.writeJSONField("body", body) }
        if let data { buffer.writeJSONField("data", raw: data) }
        if let replyTo { buffer.writeJSONField("reply_to", replyTo) }
        if let cid { buffer.writeJSONField("cid", cid) }
        if let rev { buffer.writeJSONField("rev", rev) }
        if let user { buffer.writeJSONField("user", user) }
        if let read { buffer.writeJSONField("read", read) }
        if let delivered { buffer.writeJSONField("delivered", delivered) }
        if let title { buffer.writeJSONField("title", title) }
        if let role { buffer.writeJSONField("role", role) }
        if let version { buffer.writeJSONField("version", version) }
        if let muted { buffer.writeJSONField("muted", muted) }
        if let mutedUntil { buffer.writeJSONField("muted_until", mutedUntil) }
    }
}
