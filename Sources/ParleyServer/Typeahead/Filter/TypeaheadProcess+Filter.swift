import ParleyCore

/// `parley typeahead block`, `unblock` and `rules`.
extension TypeaheadProcess {
    private var filter: FilterCommands { FilterCommands(store: RuleStore(postgres: postgres), redis: redis) }

    /// Puts a rule in force, or out of it, and waits until every gateway has it.
    /// - Parameters:
    ///   - kind: `exact`, `word` or `pattern`.
    ///   - locale: nil for all lists.
    ///   - say: is told what happened, a line each.
    /// - Throws: `Settings.Problem` for what is no rule, and when a gateway is late.
    public func changeRule(
        isBlocking: Bool,
        kind: String,
        _ text: String,
        locale: String?,
        reason: String?,
        by whom: String,
        say: (String) -> Void
    ) async throws {
        guard let kind = SuggestFilter.Rule.Kind(rawValue: kind) else {
            let kinds = SuggestFilter.Rule.Kind.allCases.map(\.rawValue).joined(separator: ", ")
            throw Settings.Problem("\(kind) is no kind of rule; there are \(kinds).")
        }
        let rule: SuggestFilter.Rule
        do {
            rule = try SuggestFilter.Rule(kind, text, in: locale.map { try Self.list($0) })
        } catch let problem as SuggestText.Problem {
            throw Settings.Problem("\"\(text)\" is no rule: it is \(problem).")
        }
        try await filter.change(isBlocking ? .block : .unblock, rule, reason: reason, by: whom, say: say)
    }

    /// The rules in force, and the last changes of them.
    public func rules(changes: Int) async throws -> [String] { try await filter.list(changes: changes) }
}
