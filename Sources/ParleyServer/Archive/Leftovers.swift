import PostgresClient

/// What PostgreSQL holds that should have left it: outboxes' rows older than three seconds, and what could not be archived.
/// Ten thousand stands for that many or more.
struct Leftovers: Sendable, Hashable {
    let groups: Int64
    let rights: Int64
    let relations: Int64
    let deadLetters: Int64
}

extension Leftovers {
    init(in postgres: PostgresPool) async throws {
        let rows = try await postgres.query(
            """
            SELECT
                (SELECT count(*) FROM (SELECT FROM conversation_changes WHERE at < now_ms() - 3000 LIMIT 10000) AS old),
                (SELECT count(*) FROM (SELECT FROM right_changes WHERE at < now_ms() - 3000 LIMIT 10000) AS old),
                (SELECT count(*) FROM (SELECT FROM relation_events WHERE at < now_ms() - 3000 LIMIT 10000) AS old),
                (SELECT count(*) FROM (SELECT FROM dead_letters LIMIT 10000) AS letters)
            """
        )
        let counts = try rows.decode((Int64, Int64, Int64, Int64).self)
        let (groups, rights, relations, deadLetters) = counts.first ?? (0, 0, 0, 0)
        self.init(groups: groups, rights: rights, relations: relations, deadLetters: deadLetters)
    }
}
