import ParleyCore
import PostgresClient
import RedisClient

/// `parley typeahead rebuild`, `rollback`, `status` and `shards`.
extension TypeaheadProcess {
    /// How long somebody may take to begin what was asked for.
    private static let patience = Duration.seconds(30)

    private var builder: SuggestBuilder {
        SuggestBuilder(writer: writer, configuration: settings.building, logger: logger)
    }

    private var keeper: BuildKeeper {
        BuildKeeper(builder: builder, desk: desk, worker: "parley typeahead", count: BuildCount(), logger: logger)
    }

    /// Has a worker build all lists anew, and waits for the end.
    /// - Returns: what came of it, a line each.
    /// - Throws: `Settings.Problem` where nobody builds, and with what is wrong with what was built.
    public func rebuild(progress: @escaping @Sendable (String) -> Void) async throws -> [String] {
        let number = try await desk.ask()
        let deadline = ContinuousClock.now + Self.patience
        while true {
            let standing = try await desk.standing()
            if standing.answered >= number {
                let lines = (standing.outcome ?? "").split(separator: "\n").map(String.init)
                guard standing.isGood == true else { throw Settings.Problem(lines: lines) }
                return lines
            }
            if let owner = standing.owner {
                progress("\(owner): \(standing.progress ?? "begins")")
            } else if ContinuousClock.now > deadline {
                throw Settings.Problem("No worker with the role typeahead builds; --here does it in this process.")
            }
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    /// Builds all lists anew in this process, when nobody else does.
    /// - Parameters:
    ///   - isForced: puts them in force even if they are worse than those before.
    ///   - rebalances: spreads each list over its shards anew.
    public func rebuildHere(
        isForced: Bool,
        rebalances: Bool,
        progress: @escaping @Sendable (String) -> Void
    ) async throws -> [String] {
        _ = try await desk.ask()
        while true {
            if let turn = try await desk.take("parley typeahead") {
                let outcomes = try await keeper.perform(
                    turn,
                    isForced: isForced,
                    rebalances: rebalances,
                    show: progress
                )
                let lines = outcomes.map(\.text)
                guard outcomes.allSatisfy(\.isGood) else { throw Settings.Problem(lines: lines) }
                return lines
            }
            // A worker may have taken up the request.
            _ = try await desk.ask()
            progress("waits: \(try await desk.standing().owner ?? "somebody") builds")
            try await Task.sleep(for: .milliseconds(500))
        }
    }

    /// Puts the list before the present one in force again, and has the schedule rest: it would build the present one anew.
    public func rollBack(_ locale: String) async throws -> [String] {
        let list = try Self.list(locale)
        try await desk.rest()
        let generation = try await writer.rollBack(list)
        return [
            "\(list): generation \(generation.id) is in force again",
            "nothing is built by the schedule until parley typeahead rebuild",
        ]
    }

    /// What is in force, and how gathering and building go.
    public func status() async throws -> [String] {
        var lines: [String] = []
        for (locale, id, source, entries, shards, age, previous) in try await postgres.query(
            """
            SELECT c.locale, c.generation::bigint, g.source, coalesce(sum(s.entries), 0)::bigint, count(s.shard),
                now_ms() - g.at, c.previous::bigint
            FROM suggest_current c JOIN suggest_generations g ON g.id = c.generation
                LEFT JOIN suggest_shards s ON s.generation = g.id
            GROUP BY c.locale, c.generation, g.source, g.at, c.previous ORDER BY c.locale
            """
        ).decode((String, Int64, String, Int64, Int64, Int64, Int64?).self) {
            lines.append(
                "list      \(locale): generation \(id) by \(source) \(Self.ago(age)), \(entries) keys on \(shards) "
                    + "\(shards == 1 ? "shard" : "shards"), \(previous.map { "before it \($0)" } ?? "none before it")"
            )
        }
        if lines.isEmpty {
            lines.append("list      none: parley typeahead import, or rebuild when something was gathered")
        }
        let standing = try await desk.standing()
        if let owner = standing.owner { lines.append("building  \(owner): \(standing.progress ?? "begins")") }
        let next =
            standing.isResting
            ? "rests after a rollback until parley typeahead rebuild"
            : standing.nextIn < 0 ? "due" : "in \(Self.span(standing.nextIn))"
        lines.append("schedule  \(next)")
        for line in (standing.outcome ?? "").split(separator: "\n") {
            let mark = standing.isGood == false ? "! " : ""
            lines.append("built     \(standing.outcomeAgo.map(Self.ago) ?? ""): \(mark)\(line)")
        }
        let gathered = try await postgres.query(
            """
            SELECT (SELECT count(*) FROM query_gate), (SELECT count(DISTINCT (locale, query)) FROM query_counts),
                (SELECT coalesce(sum(count + held), 0)::bigint FROM query_counts WHERE day = now_ms() / 86400000)
            """,
            timeout: .seconds(60)
        ).decode((Int64, Int64, Int64).self)
        if let (open, all, today) = gathered.first {
            lines.append("gathered  \(open) queries that may be shown of \(all), \(today) searches today")
        }
        for (shard, owner, position) in try await postgres.query(
            "SELECT shard::bigint, CASE WHEN lease_until > now_ms() THEN owner END, position FROM search_shards ORDER BY 1"
        ).decode((Int64, String?, String).self) {
            let key = SearchShard(number: Int(shard)).key
            let waiting = try await redis.send("XLEN", key, repeatable: true).integer ?? 0
            lines.append(
                "searches  S\(shard): \(owner ?? "! nobody reads it"), up to \(position), \(waiting) kept in Redis"
            )
        }
        let filter = try await RuleStore(postgres: postgres).read().filter
        lines.append("filter    version \(filter.version), \(filter.rules.count) rules")
        return lines
    }

    /// What each shard of the lists in force has to answer.
    public func shards() async throws -> [String] {
        var lines: [String] = []
        for generation in try await writer.store.current().sorted(by: { $0.locale < $1.locale }) {
            let weights = try await weights(of: generation)
            let loads = weights.loads(under: generation.map)
            let imbalance = SuggestWeights.imbalance(of: loads)
            lines.append(
                "\(generation.locale): generation \(generation.id), greatest load over mean \(Self.short(imbalance))"
            )
            for (shard, load) in loads.enumerated() {
                let from = shard == 0 ? "" : String(decoding: generation.map.bounds[shard - 1], as: UTF8.self)
                let share = weights.total > 0 ? 100 * load / weights.total : 0
                lines.append("  {\(generation.locale):\(shard)}  \(Self.short(share)) %  from \"\(from)\"")
            }
        }
        return lines.isEmpty ? ["there is no list"] : lines
    }

    private func weights(of generation: SuggestGeneration) async throws -> SuggestWeights {
        var weights = SuggestWeights()
        var last: ([UInt8], String)?
        while true {
            let from = last
            let page = try await postgres.query(
                """
                SELECT key, display, weight FROM suggest_entries WHERE generation = \(generation.id)
                    AND (key, display) > (\(from?.0 ?? []), \(from?.1 ?? "")) ORDER BY key, display LIMIT \(SuggestStore.page)
                """
            ).decode(([UInt8], String, Double).self)
            for (key, _, weight) in page { weights.add(key, count: weight) }
            guard let end = page.last, page.count == SuggestStore.page else { return weights }
            last = (end.0, end.1)
        }
    }

    static func list(_ text: String) throws -> SuggestLocale {
        guard let locale = SuggestLocale(text) else { throw Settings.Problem("\(text) is no locale, as ko or ko-KR.") }
        return locale
    }

    static func short(_ number: Double) -> String {
        let hundredths = Int((number * 100).rounded())
        return "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
    }

    private static func ago(_ milliseconds: Int64) -> String { "\(span(milliseconds)) ago" }

    private static func span(_ milliseconds: Int64) -> String {
        milliseconds < 120_000 ? "\(milliseconds / 1000) s" : "\(milliseconds / 60_000) min"
    }
}
