public import NIOCore

/// What a user says in one message.
public struct MessageContent: Hashable, Sendable {
    /// In bytes of UTF-8.
    public static let maximumBodyBytes = 16_384
    /// In bytes of JSON.
    public static let maximumDataBytes = 4_096

    public var body: String
    /// A JSON object, kept verbatim.
    public var data: String?
    public var replyTo: MessageID?

    public init(body: String, data: String? = nil, replyTo: MessageID? = nil) {
        self.body = body
        self.data = data
        self.replyTo = replyTo
    }

    /// Why this may not be sent, or nil: `too_large` for a body over 16,384 bytes or data over 4 KiB, `invalid`
    /// for an empty body or one with NUL. Whether `data` is a JSON object is for whoever parsed it.
    public var problem: FrameError? {
        Self.problem(ofBody: body) ?? (data?.utf8.count ?? 0 > Self.maximumDataBytes ? .oversizeData : nil)
    }

    static func problem(ofBody body: String) -> FrameError? {
        if body.isEmpty { return FrameError(.invalid, "body is empty") }
        if body.utf8.count > maximumBodyBytes {
            return FrameError(.tooLarge, "body is longer than \(maximumBodyBytes) bytes")
        }
        var body = body
        let containsNUL = body.withUTF8 { JSONWord.containsNUL(UnsafeRawBufferPointer($0)) }
        return containsNUL ? FrameError(.invalid, "body contains NUL") : nil
    }

    /// Appends the members `body`, `data` and `reply_to` to an object that the caller has begun; also to an empty
    /// buffer, for a part that someone else puts the object around.
    public func writeFields(into buffer: inout ByteBuffer) {
        buffer.writeJSONField("body", body)
        if let data { buffer.writeJSONField("data", raw: data) }
        if let replyTo { buffer.writeJSONField("reply_to", replyTo) }
    }

    /// Tells content apart under a repeated cid; stable for good. Sixteen hexadecimal digits.
    public var hash: String {
        var hash = ContentHash()
        hash.update(field: body)
        hash.update(field: data)
        hash.update(field: replyTo?.description)
        return hash.hexDigits
    }
}

extension FrameError {
    static let oversizeData = FrameError(.tooLarge, "data is longer than \(MessageContent.maximumDataBytes) bytes")
}
