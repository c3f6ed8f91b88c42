public import NIOCore

extension ClientFrame {
    /// Appends the frame's JSON.
    public func encode(into buffer: inout ByteBuffer) {
        buffer.beginJSONObject()
        operation.writeFields(into: &buffer)
        if let id { buffer.writeJSONField("id", raw: id.raw) }
        buffer.endJSONObject()
    }
}

extension ClientFrame.Operation {
    fileprivate func writeFields(into buffer: inout ByteBuffer) {
        buffer.writeJSONField("op", name)
        switch self {
        case .auth(let auth):
            auth.writeFields(into: &buffer)
        case .send(let send):
            buffer.writeJSONField("cid", send.cid)
            switch send.target {
            case .conversation(let conv): buffer.writeJSONField("conv", conv)
            case .user(let user): buffer.writeJSONField("to", user)
            }
            send.content.writeFields(into: &buffer)
        case .edit(let edit):
            buffer.writeJSONField("cid", edit.cid)
            buffer.writeJSONField("conv", edit.conv)
            buffer.writeJSONField("mid", edit.mid)
            buffer.writeJSONField("body", edit.body)
        case .delete(let delete):
            buffer.writeJSONField("cid", delete.cid)
            buffer.writeJSONField("conv", delete.conv)
            buffer.writeJSONField("mid", delete.mid)
        case .ack(let q):
            buffer.writeJSONField("q", q)
        case .read(let conv, let seq):
            buffer.writeJSONField("conv", conv)
            buffer.writeJSONField("seq", seq)
        case .typing(let conv):
            buffer.writeJSONField("conv", conv)
        case .watch(let users):
            buffer.writeJSONKey("users")
            buffer.beginJSONArray()
            for user in users {
                buffer.beginJSONElement()
                buffer.writeJSONIdentifier(user)
            }
            buffer.endJSONArray()
        case .sync(let cursor):
            cursor.writeFields(into: &buffer)
        case .suggest(let text, let locale):
            buffer.writeJSONField("text", text)
            if let locale { buffer.writeJSONField("locale", locale) }
        case .active, .ping:
            break
        }
    }

    /// The `op` on the wire.
    public var name: String {
        switch self {
        case .auth: "auth"
        case .send: "send"
        case .edit: "edit"
        case .delete: "delete"
        case .ack: "ack"
        case .read: "read"
        case .typing: "typing"
        case .watch: "watch"
        case .active: "active"
        case .sync: "sync"
        case .ping: "ping"
        case .suggest: "suggest"
        }
    }
}

extension ClientFrame.Cursor {
    fileprivate func writeFields(into buffer: inout ByteBuffer) {
        buffer.writeJSONField("epoch", epoch)
        buffer.writeJSONField("q", q)
    }
}

extension ClientFrame.Auth {
    fileprivate func writeFields(into buffer: inout ByteBuffer) {
        buffer.writeJSONField("token", token)
        buffer.writeJSONField("device", device)
        if let resume {
            buffer.writeJSONKey("resume")
            buffer.beginJSONObject()
            resume.writeFields(into: &buffer)
            buffer.endJSONObject()
        }
        if ephemeral { buffer.writeJSONField("ephemeral", true) }
    }
}
