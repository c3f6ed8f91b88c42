import Hummingbird
import NIOCore
import ParleyWire

/// Conversations and messages as the HTTP contract shows them. Written by hand, because a message's `data` comes back
/// verbatim.
enum ConversationJSON {
    /// Members of a group of whom a list shows the positions: with those of bigger ones a page would be half a megabyte.
    private static let fewMembers = 32

    static func list(_ page: [ConversationSummary], next: MessageID?, for user: UserID) -> ByteBuffer {
        object { buffer in
            buffer.writeJSONKey("conversations")
            buffer.beginJSONArray()
            for summary in page {
                buffer.beginJSONElement()
                write(summary, for: user, withPositionsUpTo: fewMembers, into: &buffer)
            }
            buffer.endJSONArray()
            if let next { buffer.writeJSONField("next", next) } else { buffer.writeJSONField("next", raw: "null") }
        }
    }

    static func one(_ summary: ConversationSummary, for user: UserID) -> ByteBuffer {
        var buffer = ByteBuffer()
        write(summary, for: user, withPositionsUpTo: .max, into: &buffer)
        return buffer
    }

    static func messages(_ page: History.Page, for user: UserID) -> ByteBuffer {
        object { buffer in
            buffer.writeJSONKey("messages")
            buffer.beginJSONArray()
            for message in page.messages {
                buffer.beginJSONElement()
                write(message, for: user, into: &buffer)
            }
            buffer.endJSONArray()
            buffer.writeJSONField("more", page.hasMore)
        }
    }

    private static func object(_ fields: (inout ByteBuffer) -> Void) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.beginJSONObject()
        fields(&buffer)
        buffer.endJSONObject()
        return buffer
    }

    /// - Parameter limit: of more members the user's own position alone; what `last_receipts` counts is of all.
    private static func write(
        _ summary: ConversationSummary,
        for user: UserID,
        withPositionsUpTo limit: Int,
        into buffer: inout ByteBuffer
    ) {
        buffer.beginJSONObject()
        buffer.writeJSONField("id", summary.conversation)
        buffer.writeJSONField("kind", summary.conversation.isDirect ? "direct" : "group")
        if let group = summary.group {
            buffer.writeJSONField("title", group.title)
            buffer.writeJSONField("version", group.version)
            if let owner = group.owner { buffer.writeJSONField("owner", owner) }
            buffer.writeJSONKey("admins")
            write(group.admins, into: &buffer)
        } else {
            buffer.writeJSONField("title", raw: "null")
        }
        buffer.writeJSONKey("members")
        write(summary.members, into: &buffer)
        if let last = summary.last {
            buffer.writeJSONKey("last")
            write(last, for: user, into: &buffer)
        } else {
            buffer.writeJSONField("last", raw: "null")
        }
        if let receipts = summary.lastReceipts {
            buffer.writeJSONKey("last_receipts")
            buffer.beginJSONObject()
            buffer.writeJSONField("of", receipts.members)
            buffer.writeJSONField("delivered", receipts.delivered)
            buffer.writeJSONField("read", receipts.read)
            buffer.endJSONObject()
        } else {
            buffer.writeJSONField("last_receipts", raw: "null")
        }
        buffer.writeJSONField("unread", summary.unread)
        buffer.writeJSONField("read_seq", summary.positions[user]?.read ?? 0)
        buffer.writeJSONField("muted", summary.mute != nil)
        if let until = summary.mute?.until {
            buffer.writeJSONField("muted_until", until)
        } else {
            buffer.writeJSONField("muted_until", raw: "null")
        }
        // Up to which seq members have read, and got delivered.
        buffer.writeJSONKey("positions")
        buffer.beginJSONArray()
        for member in summary.members.count <= limit ? summary.members : [user] {
            guard let position = summary.positions[member] else { continue }
            buffer.beginJSONElement()
            buffer.beginJSONObject()
            buffer.writeJSONField("user", member)
            buffer.writeJSONField("read", position.read)
            buffer.writeJSONField("delivered", position.delivered)
            if let joined = position.joined { buffer.writeJSONField("joined", joined) }
            buffer.endJSONObject()
        }
        buffer.endJSONArray()
        buffer.endJSONObject()
    }

    private static func write(_ users: [UserID], into buffer: inout ByteBuffer) {
        buffer.beginJSONArray()
        for user in users {
            buffer.beginJSONElement()
            buffer.writeJSONIdentifier(user)
        }
        buffer.endJSONArray()
    }

    static func write(_ message: StoredMessage, for user: UserID, into buffer: inout ByteBuffer) {
        buffer.beginJSONObject()
        buffer.writeJSONField("mid", message.mid)
        buffer.writeJSONField("seq", message.seq)
        buffer.writeJSONField("from", message.sender)
        buffer.writeJSONField("ts", message.timestamp)
        if message.type == .message {
            if message.isDeleted {
                buffer.writeJSONField("deleted", true)
            } else {
                message.content.writeFields(into: &buffer)
                if message.rev != nil { buffer.writeJSONField("edited", true) }
            }
            if let rev = message.rev { buffer.writeJSONField("rev", rev) }
        } else {
            buffer.writeJSONField("type", message.type.rawValue)
            buffer.writeString("," + (message.content.data ?? "{}").dropFirst().dropLast())
        }
        // For the sender's own devices.
        if message.sender == user, let cid = message.cid { buffer.writeJSONField("cid", cid) }
        buffer.endJSONObject()
    }
}

extension Response {
    init(status: HTTPResponse.Status = .ok, json: ByteBuffer) {
        self.init(status: status, headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: json))
    }
}
