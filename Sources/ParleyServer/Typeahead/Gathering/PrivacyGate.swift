import PostgresClient
import RedisClient

/// Holds a query back until enough different users have searched for it: what one person types is shown to nobody, and
/// nobody makes a suggestion alone.
///
/// Until then Redis keeps a set of their hashes, which forgets itself; that enough have come stands in PostgreSQL.
struct PrivacyGate: Sendable {
    let redis: RedisClient
    let postgres: PostgresPool
    let pseudonyms: SearchPseudonyms
    /// How many are enough.
    let enough: Int
    /// In which they must come; milliseconds.
    let window: Int64

    /// What a batch changes.
    struct Passage: Sendable {
        /// Those of the batch's queries that may be shown.
        var open: Set<SearchedQuery> = []
        /// Those of them that could not before; they are not recorded yet.
        var opened: [SearchedQuery] = []
    }

    static func key(_ query: SearchedQuery) -> String { "gate:\(query.locale):\(query.text)" }

    /// Adds a batch's users. To do so again changes nothing.
    func pass(_ batch: SearchBatch) async throws -> Passage {
        let queries = Array(batch.recent.keys)
        let rows = try await postgres.query(
            """
            SELECT locale, query FROM query_gate
            JOIN unnest(\(queries.map(\.locale))::text[], \(queries.map(\.text))::text[]) AS asked(locale, query)
            USING (locale, query)
            """
        )
        let open = try rows.decode((String, String).self).map { SearchedQuery(locale: $0.0, text: $0.1) }
        var passage = Passage(open: Set(open))
        let asked = batch.users.filter { !passage.open.contains($0.key) }.map { query, users in
            (query, Task { try await add(users, to: query) })
        }
        for (query, answer) in asked where try await answer.value >= enough {
            passage.open.insert(query)
            passage.opened.append(query)
        }
        return passage
    }

    private func add(_ users: Set<[UInt8]>, to query: SearchedQuery) async throws -> Int {
        let members = users.map { pseudonyms.member($0, of: query) }
        let call = RedisFunctions.call(
            "gate_add",
            keys: [Self.key(query)],
            [String(window), String(enough)] + members
        )
        return Int(try await redis.send(call, repeatable: true).integer ?? 0)
    }

    /// Who searched for what is open needs not be known any more.
    func forget(_ queries: [SearchedQuery]) async throws {
        for query in queries { _ = try await redis.send("UNLINK", Self.key(query), repeatable: true) }
    }
}
