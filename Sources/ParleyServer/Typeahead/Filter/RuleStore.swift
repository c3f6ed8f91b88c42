import ParleyCore
import PostgresClient

/// The rules of what must not be suggested, and the log of who changed them. Every change has a version of its own.
struct RuleStore: Sendable {
    let postgres: PostgresPool

    enum Action: String, Sendable {
        case block, unblock
    }

    struct LogEntry: Sendable {
        let version: Int64
        let action: String
        let rule: SuggestFilter.Rule
        let reason: String?
        let by: String
        let at: Int64
    }

    func version() async throws -> Int64 {
        try await postgres.query("SELECT version FROM suggest_rule_version").decode(Int64.self).first ?? 0
    }

    /// The rules of one version.
    struct Reading: Sendable {
        let filter: SuggestFilter
        /// When it became the version, in milliseconds since 1970; 0 for none.
        let at: Int64
        /// When it was read, by the same clock.
        let readAt: Int64
    }

    func read() async throws -> Reading {
        try await postgres.transaction(isolation: .repeatableRead) { connection in
            let state = try await connection.query(
                """
                SELECT version, coalesce((SELECT at FROM suggest_rule_log ORDER BY version DESC LIMIT 1), 0), now_ms()
                FROM suggest_rule_version
                """
            ).decode((Int64, Int64, Int64).self)
            let rows = try await connection.query("SELECT kind, locale, rule FROM suggest_rules ORDER BY id")
            let rules = try rows.decode((String, String?, String).self).compactMap(Self.rule)
            let (version, at, readAt) = state.first ?? (0, 0, 0)
            return Reading(filter: SuggestFilter(version: version, rules: rules), at: at, readAt: readAt)
        }
    }

    /// Puts a rule in force, or out of it.
    /// - Returns: the version that has it; nil where it was so already, which needs no entry in the log.
    func change(
        _ action: Action,
        _ rule: SuggestFilter.Rule,
        reason: String?,
        by whom: String
    ) async throws -> Int64? {
        let (kind, locale) = (rule.kind.rawValue, rule.locale?.description)
        return try await postgres.transaction { connection in
            // Before all else: of two at once one waits for the other here, so that versions and log have one order.
            let versions = try await connection.query(
                "UPDATE suggest_rule_version SET version = version + 1 RETURNING version"
            ).decode(Int64.self)
            let change: PostgresQuery =
                switch action {
                case .block:
                    """
                    INSERT INTO suggest_rules (kind, locale, rule, at)
                    VALUES (\(kind), \(locale), \(rule.text), now_ms()) ON CONFLICT DO NOTHING
                    """
                case .unblock:
                    """
                    DELETE FROM suggest_rules
                    WHERE kind = \(kind) AND locale IS NOT DISTINCT FROM \(locale) AND rule = \(rule.text)
                    """
                }
            let changed = try await connection.query(change)
            guard changed.affected == 1, let version = versions.first else {
                _ = try await connection.query("UPDATE suggest_rule_version SET version = version - 1")
                return nil
            }
            _ = try await connection.query(
                """
                INSERT INTO suggest_rule_log (version, action, kind, locale, rule, reason, by_whom, at)
                VALUES (\(version), \(action.rawValue), \(kind), \(locale), \(rule.text), \(reason), \(whom), now_ms())
                """
            )
            return version
        }
    }

    /// The last changes, newest first.
    func log(limit: Int) async throws -> [LogEntry] {
        let rows = try await postgres.query(
            """
            SELECT version, action, kind, locale, rule, reason, by_whom, at FROM suggest_rule_log
            ORDER BY version DESC LIMIT \(limit)
            """
        )
        return try rows.decode((Int64, String, String, String?, String, String?, String, Int64).self).compactMap {
            row in
            let (version, action, kind, locale, rule, reason, by, at) = row
            guard let rule = Self.rule((kind, locale, rule)) else { return nil }
            return LogEntry(version: version, action: action, rule: rule, reason: reason, by: by, at: at)
        }
    }

    private static func rule(_ row: (kind: String, locale: String?, text: String)) -> SuggestFilter.Rule? {
        guard let kind = SuggestFilter.Rule.Kind(rawValue: row.kind) else { return nil }
        return try? SuggestFilter.Rule(kind, row.text, in: row.locale.flatMap { SuggestLocale($0) })
    }
}
