import PostgresClient

/// A partition of history, and the message ids that belong into it.
struct Partition: Sendable, Hashable {
    let name: String
    let range: Range<Int64>

    /// All but the default one, which holds what belongs into none of them.
    static let listing: PostgresQuery = """
        SELECT relname::text, bounds[1]::bigint, bounds[2]::bigint
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        CROSS JOIN LATERAL regexp_match(
            pg_get_expr(relpartbound, inhrelid), 'FROM \\(''(\\d+)''\\) TO \\(''(\\d+)''\\)'
        ) AS bounds
        WHERE inhparent = 'messages'::regclass AND bounds IS NOT NULL
        """

    /// In order of time.
    static func all(_ rows: PostgresRows) throws(PostgresError) -> [Partition] {
        try rows.decode((String, Int64, Int64).self).map { Partition(name: $0.0, range: $0.1..<$0.2) }
            .sorted { $0.range.lowerBound < $1.range.lowerBound }
    }
}
