import ParleyCore

/// A rule of what must not be suggested, as it stands in PostgreSQL.
public struct SuggestRule: Sendable, Hashable {
    public let kind: SuggestFilter.Kind
    /// nil for all locales.
    public let locale: String?
    /// As it was given; it is normalised where it is matched.
    public let rule: String

    public init(kind: SuggestFilter.Kind, locale: String?, rule: String) {
        self.kind = kind
        self.locale = locale
        self.rule = rule
    }
}

/// All rules, as of one version.
public struct SuggestRules: Sendable {
    public let version: Int64
    /// When the version came, in milliseconds since 1970 by PostgreSQL's clock; 0 for none.
    public let at: Int64
    /// PostgreSQL's clock when they were read.
    public let readAt: Int64
    public let rules: [(rule: SuggestRule, at: Int64)]
}
