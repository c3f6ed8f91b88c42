import ParleyCore
import PostgresClient

/// What lists are made of, as PostgreSQL has it: what was imported, and what was gathered as far as it is open, each way of
/// writing with its weight.
struct QuerySources: Sendable {
    struct Row: Sendable {
        let locale: SuggestLocale
        let display: String
        let weight: Double
    }

    let postgres: PostgresPool

    private static let page = 10_000
    private static let patience = Duration.seconds(600)

    /// What was imported takes the place of what was imported before for the same list.
    func replace(_ locale: SuggestLocale, by entries: [SuggestEntry]) async throws {
        // One that stands twice counts as often as both.
        var weights: [String: Double] = [:]
        for entry in entries { weights[entry.display, default: 0] += entry.weight }
        let merged = weights.sorted { $0.key < $1.key }
        try await postgres.transaction { connection in
            _ = try await connection.query(
                "DELETE FROM suggest_base WHERE locale = \(locale.description)",
                timeout: Self.patience
            )
            for start in stride(from: 0, to: merged.count, by: Self.page) {
                let some = merged[start..<min(start + Self.page, merged.count)]
                _ = try await connection.query(
                    """
                    INSERT INTO suggest_base (locale, display, weight)
                    SELECT \(locale.description), * FROM unnest(\(some.map(\.key))::text[], \(some.map(\.value)))
                    """,
                    timeout: Self.patience
                )
            }
        }
    }

    /// Of which locales a list was imported.
    func imported() async throws -> Set<SuggestLocale> {
        let rows = try await postgres.query("SELECT DISTINCT locale FROM suggest_base", timeout: Self.patience)
        return Set(try rows.decode(String.self).compactMap { SuggestLocale($0) })
    }

    /// How many queries of each locale are open.
    func sizes() async throws -> [SuggestLocale: Int] {
        let rows = try await postgres.query(
            "SELECT locale, count(*) FROM query_gate GROUP BY locale",
            timeout: Self.patience
        )
        let sizes = try rows.decode((String, Int).self).compactMap { locale, count in
            SuggestLocale(locale).map { ($0, count) }
        }
        return Dictionary(sizes, uniquingKeysWith: +)
    }

    /// Everything as of one moment. What was gathered has lost half of its weight after so many days, and what is held is
    /// not in it.
    func all(halfLifeDays: Int) async throws -> [Row] {
        try await postgres.transaction(isolation: .repeatableRead) { connection in
            let cursor: PostgresQuery =
                """
                DECLARE queries NO SCROLL CURSOR FOR
                SELECT locale, display, weight FROM suggest_base
                UNION ALL
                SELECT locale, display,
                    sum(count * power(0.5, (now_ms() / 86400000 - day) / \(Double(halfLifeDays))))::double precision
                FROM query_counts JOIN query_gate USING (locale, query)
                GROUP BY locale, display HAVING sum(count) > 0
                """
            _ = try await connection.query(cursor, timeout: Self.patience)
            var all: [Row] = []
            while true {
                let rows = try await connection.query(
                    "FETCH \(unescaped: String(Self.page)) FROM queries",
                    timeout: Self.patience
                )
                all += Self.rows(try rows.decode((String, String, Double).self))
                if rows.count < Self.page { return all }
            }
        }
    }

    /// Searches that are held, of the last days: the most frequent.
    func held(days: Int, limit: Int) async throws -> [Row] {
        let rows = try await postgres.query(
            """
            SELECT locale, min(display), sum(held)::double precision
            FROM query_counts JOIN query_gate USING (locale, query)
            WHERE day > now_ms() / 86400000 - \(days) AND held > 0
            GROUP BY locale, query ORDER BY 3 DESC, 1, 2 LIMIT \(limit)
            """,
            timeout: Self.patience
        )
        return Self.rows(try rows.decode((String, String, Double).self))
    }

    private static func rows(_ rows: [(String, String, Double)]) -> [Row] {
        rows.compactMap { locale, display, weight in
            SuggestLocale(locale).map { Row(locale: $0, display: display, weight: weight) }
        }
    }
}
