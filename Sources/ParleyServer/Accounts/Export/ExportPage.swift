import Hummingbird
import NIOCore
import ParleyWire

/// Lines of an export on their way to the client.
struct ExportPage {
    private var buffer = ByteBuffer()

    mutating func append(_ record: String, _ fields: (inout ByteBuffer) -> Void) {
        buffer.beginJSONObject()
        buffer.writeJSONField("record", record)
        fields(&buffer)
        buffer.endJSONObject()
        buffer.writeStaticString("\n")
    }

    /// Appends an object that stands already.
    mutating func append(_ record: String, object: ByteBuffer) {
        append(record) { $0.writeMembers(of: object) }
    }

    mutating func append(_ login: Login, isCurrent: Bool) {
        append("sign_in") {
            $0.writeJSONField("id", login.id.description)
            if let device = login.device { $0.writeJSONField("device", device) }
            $0.writeJSONField("created_at", login.createdAt)
            $0.writeJSONField("last_used_at", login.lastUsedAt)
            $0.writeJSONField("current", isCurrent)
        }
    }

    mutating func append(_ message: StoredMessage, in conversation: ConversationID, for user: UserID) {
        var object = ByteBuffer()
        ConversationJSON.write(message, for: user, into: &object)
        append("message") {
            $0.writeJSONField("conv", conversation)
            $0.writeMembers(of: object)
        }
    }

    /// Hands the lines over and waits until the client has room for more.
    mutating func flush(to writer: inout any ResponseBodyWriter, _ written: AccountExport.Counter) async throws {
        guard buffer.readableBytes > 0 else { return }
        let count = buffer.readableBytes
        try await writer.write(buffer)
        written.add(count)
        buffer = ByteBuffer()
    }
}

extension ByteBuffer {
    /// Writes the members of an object that is not empty into one that has begun, on one line: what a client put between
    /// the tokens of a message's `data` may be line ends; in texts they are escaped.
    fileprivate mutating func writeMembers(of object: ByteBuffer) {
        let members = object.readableBytesView.dropFirst().dropLast()
        let (lineFeed, carriageReturn) = (UInt8(ascii: "\n"), UInt8(ascii: "\r"))
        writeStaticString(",")
        if members.contains(lineFeed) || members.contains(carriageReturn) {
            writeBytes(members.map { $0 == lineFeed || $0 == carriageReturn ? UInt8(ascii: " ") : $0 })
        } else {
            writeBytes(members)
        }
    }
}
