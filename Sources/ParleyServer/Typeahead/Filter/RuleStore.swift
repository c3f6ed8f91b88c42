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
        let rule: SuggestRule
        let reason: String?
        let by: String
        let at: Int64
    }

    func version() async throws -> Int64 {
        try await postgres.query("SELECT version FROM suggest_rule_version").decode(Int64.self).first ?? 0
    }

    /// Rules and version as they belong together.
    func rules() async throws -> SuggestRules {
        try await postgres.transaction(isolation: .repeatableRead) { connection in
            let state = try await connection.query(
                """
                SELECT version, coalesce((SELECT at FROM suggest_rule_log ORDER BY version DESC LIMIT 1), 0), now_ms()
                FROM suggest_rule_version
                """
            ).decode((Int64, Int64, Int64).self)
            let rows = try await connection.query(
                "SELECT kind, locale, rule, at FROM suggest_rules ORDER BY id"
            ).decode((String, String?, String, Int64).self)
            let rules: [(rule: SuggestRule, at: Int64)] = rows.compactMap { kind, locale, rule, at in
                guard let kind = SuggestFilter.Kind(rawValue: kind) else { return nil }
                return (SuggestRule(kind: kind, locale: locale, rule: rule), at)
            }
            let (version, at, readAt) = state.first ?? (0, 0, 0)
            return SuggestRules(version: version, at: at, readAt: readAt, rules: rules)
        }
    }

    /// Puts a rule in force, or out of it.
    /// - Returns: the version that has it; nil where it was so already, which needs no entry in the log.
    func change(_ action: Action, _ rule: SuggestRule, reason: String?, by whom: String) async throws -> Int64? {
        let (kind, locale) = (rule.kind.rawValue, rule.locale)
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
                    VALUES (\(kind), \(locale), \(rule.rule), now_ms()) ON CONFLICT DO NOTHING
                    """
                case .unblock:
                    """
                    DELETE FROM suggest_rules
                    WHERE kind = \(kind) AND locale IS NOT DISTINCT FROM \(locale) AND rule = \(rule.rule)
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
                VALUES (\(version), \(action.rawValue), \(kind), \(locale), \(rule.rule), \(reason), \(whom), now_ms())
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
        return try rows.decode((Int64, String, String, String?, String, String?, String, Int64).self).compactMap { row in
            let (version, action, kind, locale, rule, reason, by, at) = row
            guard let kind = SuggestFilter.Kind(rawValue: kind) else { return nil }
            let subject = SuggestRule(kind: kind, locale: locale, rule: rule)
            return LogEntry(version: version, action: action, rule: subject, reason: reason, by: by, at: at)
        }
    }
}
