import NIOCore
import NIOHTTP1
public import ParleyWire

/// Conversations, their history, and groups. Groups are changed by their owner and admins, left by everybody.
extension ParleyAPI {
    /// A page of the list, 200 at most.
    /// - Parameter cursor: of the page before; nil for the first.
    public func conversationPage(
        after cursor: String? = nil,
        token: String
    ) async throws(ClientError) -> ConversationPage {
        try await call(.GET, "/v1/conversations?limit=200" + (cursor.map { "&cursor=\($0)" } ?? ""), token: token)
    }

    /// The whole list; one in which somebody writes meanwhile may move between two pages, and be missing.
    public func conversations(token: String) async throws(ClientError) -> [ConversationEntry] {
        var page = try await conversationPage(token: token)
        var all = page.conversations
        while let next = page.next {
            page = try await conversationPage(after: next, token: token)
            all += page.conversations
        }
        return all
    }

    public func conversation(_ id: ConversationID, token: String) async throws(ClientError) -> ConversationEntry {
        try await call(.GET, "/v1/conversations/\(id)", token: token)
    }

    /// - Parameter limit: 1–200 messages.
    public func history(
        of conversation: ConversationID,
        at position: HistoryPosition = .newest,
        limit: Int = 200,
        token: String
    ) async throws(ClientError) -> HistoryPage {
        let path = "/v1/conversations/\(conversation)/messages?limit=\(limit)\(position.query)"
        let body = try await accepted(.GET, path, token: token)
        var page: HistoryPage = try decode(body, of: path)
        do throws(JSONError) { try page.readData(from: body) } catch {
            throw ClientError(.badAnswer, "\(address) \(path): \(error)")
        }
        return page
    }

    /// Makes a group of the caller and others. A repeat of the key gets the group that it made first.
    /// - Parameter key: names the wish, as a `cid` names a send.
    public func createGroup(
        title: String,
        members: [UserID],
        key: ClientMessageID,
        token: String
    ) async throws(ClientError) -> ConversationID {
        struct Answer: Decodable { var id: ConversationID }
        let body = Self.json { json in
            json.writeJSONField("title", title)
            json.writeJSONKey("members")
            json.beginJSONArray()
            for member in members {
                json.beginJSONElement()
                json.writeJSONIdentifier(member)
            }
            json.endJSONArray()
        }
        let headers = [("idempotency-key", key.description)]
        return try await call(.POST, "/v1/conversations", as: Answer.self, token: token, json: body, headers: headers)
            .id
    }

    @discardableResult
    public func rename(
        _ group: ConversationID,
        to title: String,
        token: String
    ) async throws(ClientError) -> ConversationEntry {
        try await call(
            .PATCH,
            "/v1/conversations/\(group)",
            token: token,
            json: Self.json { $0.writeJSONField("title", title) }
        )
    }

    /// Adds somebody, or gives a member another role.
    /// - Parameter role: `owner`, `admin` or `member`; nil for a new member's, and to leave a member's as it is.
    @discardableResult
    public func add(
        _ user: UserID,
        to group: ConversationID,
        role: String? = nil,
        token: String
    ) async throws(ClientError) -> ConversationEntry {
        try await call(
            .PUT,
            "/v1/conversations/\(group)/members/\(user)",
            token: token,
            json: role.map { role in Self.json { $0.writeJSONField("role", role) } }
        )
    }

    /// Removes a member; oneself, to leave.
    public func remove(_ user: UserID, from group: ConversationID, token: String) async throws(ClientError) {
        try await accepted(.DELETE, "/v1/conversations/\(group)/members/\(user)", token: token)
    }
}
