import NIOCore
import ParleyWire
import PostgresClient

/// What is on its way to Redis.
extension RelationStore {
    /// Whose rights to write have changed: those of two users in their conversation, or of all towards one.
    enum Subject: Sendable, Hashable {
        case conversation(ConversationID)
        case user(UserID)

        var text: String {
            switch self {
            case .conversation(let conversation): conversation.description
            case .user(let user): user.description
            }
        }

        init?(_ text: String) {
            if let conversation = ConversationID(text) {
                self = .conversation(conversation)
            } else if let user = UserID(text) {
                self = .user(user)
            } else {
                return nil
            }
        }
    }

    /// An event for one queue.
    struct Event: Sendable, Hashable {
        let row: Int64
        let type: String
        let from: String
        let user: String
        /// Milliseconds since 1970.
        let timestamp: Int64

        var json: ByteBuffer {
            var buffer = ByteBuffer()
            buffer.beginJSONObject()
            buffer.writeJSONField("type", type)
            buffer.writeJSONField("from", from)
            buffer.writeJSONField("user", user)
            buffer.writeJSONField("ts", timestamp)
            buffer.endJSONObject()
            return buffer
        }
    }

    static func note(subject: String, on connection: PostgresConnection) async throws {
        _ = try await connection.query("INSERT INTO right_changes (subject, at) VALUES (\(subject), now_ms())")
    }

    static func add(_ notice: Relation.Notice, _ me: UserID, _ other: UserID, on connection: PostgresConnection)
        async throws
    {
        let recipients = (notice.tellsMe ? [me] : []) + (notice.tellsOther ? [other] : [])
        let (from, user) = notice.isMine ? (me, other) : (other, me)
        _ = try await connection.query(
            """
            INSERT INTO relation_events (recipient_id, type, from_id, user_id, at)
            SELECT recipient, \(notice.type.rawValue), \(from.description), \(user.description), now_ms()
            FROM unnest(\(recipients.map(\.description))::text[]) AS recipient
            """
        )
    }

    /// Rows that want Redis told of a subject.
    func changes(of subject: Subject) async throws -> [Int64] {
        try await postgres.query("SELECT id FROM right_changes WHERE subject = \(subject.text)").decode(Int64.self)
    }

    func remove(changes rows: [Int64]) async throws {
        _ = try await postgres.query("DELETE FROM right_changes WHERE id = ANY(\(rows)::bigint[])")
    }

    /// Events that a queue may lack, in order, a page of them.
    func events(for recipient: UserID, limit: Int) async throws -> [Event] {
        let rows = try await postgres.query(
            """
            SELECT id, type, from_id, user_id, at FROM relation_events
            WHERE recipient_id = \(recipient.description) ORDER BY id LIMIT \(limit)
            """
        )
        return try rows.decode((Int64, String, String, String, Int64).self).map {
            Event(row: $0.0, type: $0.1, from: $0.2, user: $0.3, timestamp: $0.4)
        }
    }

    /// Forgets what a queue has: up to a row, before which none can come any more.
    func remove(eventsFor recipient: UserID, upTo row: Int64) async throws {
        _ = try await postgres.query(
            "DELETE FROM relation_events WHERE recipient_id = \(recipient.description) AND id <= \(row)"
        )
    }

    /// Whom Redis may lack something about for longer than `age` milliseconds.
    func left(olderThan age: Int64) async throws -> (subjects: [Subject], recipients: [UserID]) {
        let changes = try await postgres.query(
            "SELECT DISTINCT subject FROM right_changes WHERE at < now_ms() - \(age) LIMIT 1000"
        )
        let events = try await postgres.query(
            "SELECT DISTINCT recipient_id FROM relation_events WHERE at < now_ms() - \(age) LIMIT 1000"
        )
        return (
            try changes.decode(String.self).compactMap { Subject($0) },
            try events.decode(String.self).compactMap { UserID($0) }
        )
    }
}
