import NIOCore
import NIOHTTP1
public import ParleyWire

/// Sending, changing and reading without a socket, with its guarantees: after `connectionClosed`, `timedOut` or
/// `unavailable` the outcome is unknown, and the same cid settles it.
extension ParleyAPI {
    /// Sends a message; a direct conversation is opened by its id.
    public func send(
        _ content: MessageContent,
        to conversation: ConversationID,
        cid: ClientMessageID,
        token: String
    ) async throws(ClientError) -> ServerFrame.Sent {
        let body = Self.json { content.writeFields(into: &$0) }
        return try await commit(.POST, "/v1/conversations/\(conversation)/messages", body, cid, token)
    }

    /// Gives one's own message another body.
    public func edit(
        _ mid: MessageID,
        in conversation: ConversationID,
        body: String,
        cid: ClientMessageID,
        token: String
    ) async throws(ClientError) -> ServerFrame.Sent {
        let body = Self.json { $0.writeJSONField("body", body) }
        return try await commit(.PATCH, "/v1/conversations/\(conversation)/messages/\(mid)", body, cid, token)
    }

    /// Deletes one's own message, for everybody.
    public func delete(
        _ mid: MessageID,
        in conversation: ConversationID,
        cid: ClientMessageID,
        token: String
    ) async throws(ClientError) -> ServerFrame.Sent {
        try await commit(.DELETE, "/v1/conversations/\(conversation)/messages/\(mid)", nil, cid, token)
    }

    /// Says that everything up to `seq` was read.
    public func read(_ conversation: ConversationID, upTo seq: Int64, token: String) async throws(ClientError) {
        let body = Self.json { $0.writeJSONField("seq", seq) }
        try await accepted(.POST, "/v1/conversations/\(conversation)/read", token: token, json: body)
    }

    private func commit(
        _ method: HTTPMethod,
        _ path: String,
        _ body: ByteBuffer?,
        _ cid: ClientMessageID,
        _ token: String
    ) async throws(ClientError) -> ServerFrame.Sent {
        struct Answer: Decodable {
            var conv: ConversationID
            var mid: MessageID
            var seq: Int64
            var ts: Int64
            var rev: Int64?
            var dup: Bool?
        }
        let headers = [("idempotency-key", cid.description)]
        let sent = try await call(method, path, as: Answer.self, token: token, json: body, headers: headers)
        return ServerFrame.Sent(
            cid: cid,
            conv: sent.conv,
            mid: sent.mid,
            seq: sent.seq,
            ts: sent.ts,
            rev: sent.rev,
            dup: sent.dup ?? false
        )
    }
}
