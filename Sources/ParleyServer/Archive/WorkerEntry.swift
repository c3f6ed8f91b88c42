import ParleyCore

/// What a worker says of itself in Redis: words of the form name=value, the problem last since it has spaces.
struct WorkerEntry: Sendable, Hashable {
    var roles = "archiver"
    var lanes: [Int] = []
    /// Milliseconds since it last archived, or found nothing to archive; nil when it never did.
    var archivedAgo: Int64?
    /// Where the registry of gateways is, unless it is on the same Redis.
    var registry: String?
    /// nil where PostgreSQL did not say.
    var leftovers: Leftovers?
    /// Of a worker for suggestions; nil where a store did not say.
    var suggestions: SuggestionStanding?
    var problem: String?

    var text: String {
        var words = ["roles=\(roles)", "lanes=\(Self.ranges(lanes))"]
        if let archivedAgo { words.append("round=\(archivedAgo)") }
        if let registry { words.append("registry=\(registry)") }
        if let leftovers {
            words.append("outboxes=\(leftovers.groups),\(leftovers.rights),\(leftovers.relations)")
            words.append("dead=\(leftovers.deadLetters)")
        }
        if let suggestions { words.append("suggest=\(suggestions.text)") }
        if let problem { words.append("problem=\(problem.prefix(200))") }
        return words.joined(separator: " ")
    }

    /// `0-127,130` for lanes that are mostly neighbours; `-` for none.
    static func ranges(_ lanes: [Int]) -> String {
        var ranges: [ClosedRange<Int>] = []
        for lane in lanes.sorted() {
            if let last = ranges.last, last.upperBound == lane - 1 {
                ranges[ranges.count - 1] = last.lowerBound...lane
            } else {
                ranges.append(lane...lane)
            }
        }
        let texts = ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
        return texts.isEmpty ? "-" : texts.joined(separator: ",")
    }
}
