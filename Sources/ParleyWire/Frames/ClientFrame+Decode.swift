public import NIOCore

enum ClientField: Int, FieldName {
    case op, id, cid, conv, to, body, data, replyTo, mid, q, seq, token, device, resume, ephemeral, users, epoch
    case text, locale

    static let table = makeTable()
}

typealias ClientFields = FrameFields<ClientField, 19>

extension ClientFrame {
    /// `watch` takes at most this many users.
    public static let maximumWatchedUsers = 200

    /// Decodes a frame from bytes that are known to be UTF-8.
    ///
    /// The codes of a refusal:
    /// - `bad_frame`: not one JSON object, an unknown or missing `op`, a missing field, one of the wrong JSON type
    ///   (`data` and `resume` must be objects, integers plain and at most 2^53−1), both or neither of `conv` and
    ///   `to`, an `id` that is neither string nor number or longer than 64 bytes.
    /// - `too_large`: a body over 16,384 bytes, data over 4 KiB.
    /// - `invalid`: an empty body or one with NUL, a cid that is no UUIDv7, a device name outside its grammar, a
    ///   negative `q` or `seq`, more than 200 users.
    /// - `not_found`: an id in `conv`, `to`, `mid`, `reply_to` or `users` that nothing can have.
    public static func decode(_ bytes: UnsafeRawBufferPointer) throws(FrameError) -> ClientFrame {
        var fields = ClientFields()
        do throws(FrameError) {
            do throws(JSONError) { try fields.scan(bytes) } catch { throw FrameError(.badFrame, "JSON: \(error)") }
            let id = fields.echo(.id)
            guard id != nil || fields[.id] == nil else {
                throw FrameError(.badFrame, "id must be a string or number of at most \(FrameID.maximumBytes) bytes")
            }
            return ClientFrame(try fields.operation(), id: id)
        } catch {
            throw FrameError(error.code, error.message, id: fields.echo(.id), cid: fields.echo(.cid))
        }
    }

    /// As ``decode(_:)``, of a buffer's readable bytes.
    public static func decode(_ buffer: ByteBuffer) throws(FrameError) -> ClientFrame {
        try buffer.readableBytesSpan.withUnsafeBytes { (bytes) throws(FrameError) in try decode(bytes) }
    }
}

extension ClientFields {
    fileprivate func operation() throws(FrameError) -> ClientFrame.Operation {
        let op = try required(.op, string(.op))
        switch op {
        case "send": return .send(try send())
        case "ack": return .ack(q: try position(.q))
        case "ping": return .ping
        case "read": return .read(conv: try conversation(), seq: try position(.seq))
        case "typing": return .typing(conv: try conversation())
        case "active": return .active
        case "suggest": return .suggest(text: try required(.text, string(.text)), locale: try string(.locale))
        case "edit":
            return .edit(.init(cid: try cid(), conv: try conversation(), mid: try message(), body: try body()))
        case "delete": return .delete(.init(cid: try cid(), conv: try conversation(), mid: try message()))
        case "watch": return .watch(users: try users())
        case "sync": return .sync(try cursor())
        case "auth": return .auth(try auth())
        default: throw FrameError(.badFrame, "op is unknown")
        }
    }

    private func send() throws(FrameError) -> ClientFrame.Send {
        let cid = try cid()
        let target: ClientFrame.Target
        switch (self[.conv] != nil, self[.to] != nil) {
        case (true, false): target = .conversation(try conversation())
        case (false, true): target = .user(try required(.to, identifier(.to, malformed: .notFound)))
        case (true, true): throw FrameError(.badFrame, "conv and to exclude each other")
        case (false, false): throw FrameError(.badFrame, "conv or to is missing")
        }
        return .init(cid: cid, target: target, content: try content())
    }

    fileprivate func content() throws(FrameError) -> MessageContent {
        let data = try object(.data)
        if let data, data.bytes.count > MessageContent.maximumDataBytes { throw FrameError.oversizeData }
        let replyTo: MessageID? = try identifier(.replyTo, malformed: .notFound)
        return MessageContent(body: try body(), data: data?.raw, replyTo: replyTo)
    }

    private func body() throws(FrameError) -> String {
        let body = try required(.body, string(.body))
        if let problem = MessageContent.problem(ofBody: body) { throw problem }
        return body
    }

    private func cid() throws(FrameError) -> ClientMessageID {
        try required(.cid, identifier(.cid, malformed: .invalid))
    }

    private func conversation() throws(FrameError) -> ConversationID {
        try required(.conv, identifier(.conv, malformed: .notFound))
    }

    private func message() throws(FrameError) -> MessageID {
        try required(.mid, identifier(.mid, malformed: .notFound))
    }

    private func position(_ name: ClientField) throws(FrameError) -> Int64 {
        let position = try required(name, integer(name))
        guard position >= 0 else { throw FrameError(.invalid, "\(name.wireName) is negative") }
        return position
    }

    private func cursor() throws(FrameError) -> ClientFrame.Cursor {
        .init(epoch: try required(.epoch, string(.epoch)), q: try position(.q))
    }

    private func users() throws(FrameError) -> [UserID] {
        let users = try array(.users) { (value) throws(FrameError) -> UserID in
            guard value.kind == .string else { throw FrameError(.badFrame, "users must be strings") }
            guard let user: UserID = value.identifier() else {
                throw FrameError(.notFound, "users holds a malformed id")
            }
            return user
        }
        let watched = try required(.users, users)
        guard watched.count <= ClientFrame.maximumWatchedUsers else {
            throw FrameError(.invalid, "users are more than \(ClientFrame.maximumWatchedUsers)")
        }
        return watched
    }

    private func auth() throws(FrameError) -> ClientFrame.Auth {
        var resume: ClientFrame.Cursor?
        if let object = try object(.resume) {
            var fields = ClientFields()
            do throws(JSONError) { try fields.scan(object.bytes) } catch { throw FrameError(.badFrame, "\(error)") }
            resume = try fields.cursor()
        }
        return .init(
            token: try required(.token, string(.token)),
            device: try required(.device, identifier(.device, malformed: .invalid)),
            resume: resume,
            ephemeral: try flag(.ephemeral)
        )
    }
}

extension MessageContent {
    /// Decodes what a send without a socket carries: `{"body", "data"?, "reply_to"?}`. Other members are ignored, and
    /// the codes of a refusal are those of a `send` frame; bytes that are not UTF-8 are `bad_frame`.
    public static func decode(_ buffer: ByteBuffer) throws(FrameError) -> MessageContent {
        guard (try? UTF8Span(validating: buffer.readableBytesUInt8Span)) != nil else {
            throw FrameError(.badFrame, "not UTF-8")
        }
        return try buffer.readableBytesSpan.withUnsafeBytes { (bytes) throws(FrameError) in
            var fields = ClientFields()
            do throws(JSONError) { try fields.scan(bytes) } catch { throw FrameError(.badFrame, "JSON: \(error)") }
            return try fields.content()
        }
    }
}
