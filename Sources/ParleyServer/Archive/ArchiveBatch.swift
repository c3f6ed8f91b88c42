import NIOCore
import ParleyCore
import ParleyWire
import PostgresClient

/// What one round of archiving writes: messages, entries that cannot be messages, and each lane's step.
struct ArchiveBatch: Sendable {
    struct Step: Sendable {
        let lane: Lane
        let token: Int64
        let from: Int64
        var to: Int64
    }

    struct DeadLetter: Sendable {
        let lane: Lane
        let entryID: String
        let entry: String
        let reason: String
    }

    /// Another worker holds one of the lanes, or has moved it on.
    struct Fenced: Error {}

    private(set) var steps: [Lane: Step] = [:]
    private(set) var messages: [StoredMessage] = []
    private(set) var deadLetters: [DeadLetter] = []
    /// Of the entries as they were read.
    private(set) var bytes = 0

    var isEmpty: Bool { steps.isEmpty && deadLetters.isEmpty }

    /// Adds what was read from a lane, in order. An entry without a message id cannot be passed by a position: its id
    /// is returned, to be deleted from the lane once the batch is committed.
    mutating func add(_ entries: [CommitLog.RawEntry], of lease: LaneLeases.Lease) -> [String] {
        var unpassable: [String] = []
        for raw in entries {
            bytes += raw.entry.readableBytes
            if let mid = MessageID(streamID: raw.streamID, lane: lease.lane) {
                steps[lease.lane, default: Step(lane: lease.lane, token: lease.token, from: lease.position, to: 0)].to =
                    Int64(mid.rawValue)
            } else {
                unpassable.append(raw.streamID)
            }
            do {
                messages.append(try raw.message(in: lease.lane))
            } catch {
                let text = String(buffer: raw.entry).filter { $0 != "\0" }
                deadLetters.append(
                    DeadLetter(lane: lease.lane, entryID: raw.streamID, entry: text, reason: "\(error)")
                )
            }
        }
        return unpassable
    }

    /// Writes everything in one transaction, or nothing.
    /// - Returns: how many messages PostgreSQL refused; they are dead letters now.
    /// - Throws: `Fenced`, or what the database says.
    func write(to postgres: PostgresPool) async throws -> Int {
        try await postgres.transaction { connection in
            let steps = Array(self.steps.values)
            let moved = try await connection.query(
                """
                UPDATE lanes SET position = step.next
                FROM unnest(\(steps.map { Int64($0.lane.number) })::bigint[], \(steps.map(\.token))::bigint[],
                    \(steps.map(\.from))::bigint[], \(steps.map(\.to))::bigint[]) AS step(lane, token, previous, next)
                WHERE lanes.lane = step.lane AND lanes.token = step.token AND lanes.position = step.previous
                """
            )
            guard moved.affected == steps.count else { throw Fenced() }
            let refused = try await Self.insert(messages[...], on: connection)
            try await Self.finishChanges(messages.filter { $0.groupVersion != nil }, on: connection)
            let letters = deadLetters + refused
            for letter in letters {
                _ = try await connection.query(
                    """
                    INSERT INTO dead_letters (lane, entry_id, entry, reason, at)
                    VALUES (\(Int64(letter.lane.number)), \(letter.entryID), \(letter.entry), \(letter.reason), now_ms())
                    ON CONFLICT DO NOTHING
                    """
                )
            }
            return letters.count
        }
    }

    /// Changes of groups that are in history now: they leave the outbox, and who joined by them has a place.
    private static func finishChanges(_ entries: [StoredMessage], on connection: PostgresConnection) async throws {
        guard !entries.isEmpty else { return }
        let done: PostgresQuery =
            """
            WITH done AS (
                SELECT * FROM unnest(
                    \(entries.map(\.conversation.description))::text[], \(entries.map { $0.groupVersion ?? 0 })::bigint[],
                    \(entries.map { Int64($0.mid.rawValue) })::bigint[], \(entries.map(\.seq))::bigint[]
                ) AS done(id, version, mid, seq)
            ), deleted AS (
                DELETE FROM conversation_changes USING done
                WHERE conversation_changes.conversation_id = done.id AND conversation_changes.version = done.version
            )
            UPDATE conversation_members SET joined_mid = done.mid, joined_seq = done.seq
            FROM done WHERE conversation_id = done.id AND joined_version = done.version
            """
        _ = try await connection.query(done)
    }

    /// Inserts messages and applies changes of them, in this order, since a change comes after its message in a lane;
    /// those that PostgreSQL refuses are found by halving and returned.
    private static func insert(
        _ messages: ArraySlice<StoredMessage>,
        on connection: PostgresConnection
    ) async throws -> [DeadLetter] {
        guard !messages.isEmpty else { return [] }
        _ = try await connection.query("SAVEPOINT part")
        do {
            let (entries, changes) = Array(messages).separated()
            if !entries.isEmpty { _ = try await connection.query(insertion(of: entries)) }
            if !changes.isEmpty {
                _ = try await connection.query(application(of: changes.values.compactMap(\.last)))
                _ = try await connection.query(record(of: changes.values.flatMap(\.self)))
            }
            _ = try await connection.query("RELEASE SAVEPOINT part")
            return []
        } catch {
            guard error.isAboutData else { throw error }
            _ = try await connection.query("ROLLBACK TO SAVEPOINT part")
            guard messages.count > 1 else {
                return messages.map {
                    DeadLetter(
                        lane: Lane(of: $0.conversation),
                        entryID: $0.mid.streamID,
                        entry: "\($0.conversation) seq \($0.seq) from \($0.sender): \($0.content.body)".filter {
                            $0 != "\0"
                        },
                        reason: error.message
                    )
                }
            }
            let middle = messages.startIndex + messages.count / 2
            return try await insert(messages[..<middle], on: connection) + insert(messages[middle...], on: connection)
        }
    }

    private static func insertion(of messages: [StoredMessage]) -> PostgresQuery {
        """
        INSERT INTO messages (conversation_id, message_id, seq, sender_id, cid, body, data, reply_to, type)
        SELECT * FROM unnest(
            \(messages.map(\.conversation.description))::text[],
            \(messages.map { Int64($0.mid.rawValue) })::bigint[],
            \(messages.map(\.seq))::bigint[],
            \(messages.map(\.sender.description))::text[],
            \(messages.map { $0.cid?.description })::text[],
            \(messages.map(\.content.body))::text[],
            \(messages.map(\.content.data))::text[],
            \(messages.map { $0.content.replyTo.map { Int64($0.rawValue) } })::bigint[],
            \(messages.map { $0.type == .message ? nil : $0.type.rawValue })::text[]
        ) ON CONFLICT DO NOTHING
        """
    }

    /// - Parameter changes: at most one of a message: nothing follows its deletion, and an edit says all.
    private static func application(of changes: [StoredMessage]) -> PostgresQuery {
        """
        UPDATE messages SET
            body = change.body, rev = change.rev, is_deleted = change.is_deleted,
            data = CASE WHEN NOT change.is_deleted THEN data END,
            reply_to = CASE WHEN NOT change.is_deleted THEN reply_to END
        FROM unnest(
            \(changes.map(\.conversation.description))::text[],
            \(changes.map { Int64($0.content.replyTo?.rawValue ?? 0) })::bigint[],
            \(changes.map(\.content.body))::text[], \(changes.map(\.mid.revision))::bigint[],
            \(changes.map { $0.type == .deleted })::boolean[]
        ) AS change(id, mid, body, rev, is_deleted)
        WHERE conversation_id = change.id AND message_id = change.mid AND coalesce(messages.rev, 0) < change.rev
        """
    }

    private static func record(of changes: [StoredMessage]) -> PostgresQuery {
        """
        INSERT INTO message_changes (conversation_id, change_id, seq, sender_id, cid, content_hash)
        SELECT * FROM unnest(
            \(changes.map(\.conversation.description))::text[],
            \(changes.map { Int64($0.mid.rawValue) })::bigint[],
            \(changes.map(\.seq))::bigint[],
            \(changes.map(\.sender.description))::text[],
            \(changes.map { $0.cid?.description })::text[],
            \(changes.map(\.contentHash))::text[]
        ) ON CONFLICT DO NOTHING
        """
    }
}

extension PostgresError {
    /// The rows are at fault, not the connection, the server's state or its resources (SQLSTATE classes 22 and 23).
    fileprivate var isAboutData: Bool {
        guard let sqlState else { return false }
        return sqlState.hasPrefix("22") || sqlState.hasPrefix("23")
    }
}
