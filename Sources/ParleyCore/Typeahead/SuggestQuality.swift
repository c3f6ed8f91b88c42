/// How soon people find what they type, of searches that were kept from the lists: the mean reciprocal rank among the first
/// five (MRR@5), of every prefix that they type before they are done.
public struct SuggestQuality: Sendable, Hashable {
    public static let depth = 5

    /// Prefixes that were asked for, each as often as its query was searched for.
    public private(set) var asked = 0.0
    private var sum = 0.0

    public init() {}

    /// - Parameter rank: from 0; nil where it is not among them.
    public mutating func found(at rank: Int?, weight: Double) {
        asked += weight
        if let rank, rank < Self.depth { sum += weight / Double(rank + 1) }
    }

    /// From 0, nothing was found, to 1, it always stood first.
    public var meanReciprocalRank: Double { asked > 0 ? sum / asked : 0 }
}

/// Whether a list that was built may take the place of the one in force.
public struct BuildVerdict: Sendable, Hashable {
    /// What is wrong with it, for people; it may be put in force if there is nothing.
    public private(set) var faults: [String] = []

    public init() {}

    public var isGood: Bool { faults.isEmpty }

    /// What was to be written against what stands there.
    public mutating func compare(_ what: String, expected: Int64, found: Int64) {
        if expected != found { faults.append("\(found) \(what) stand where \(expected) were written") }
    }

    /// - Parameter suggested: what the new list suggests although a rule forbids it.
    public mutating func forbid(_ suggested: [String]) {
        if let first = suggested.first { faults.append("\(suggested.count) forbidden queries are in it, as \(first)") }
    }

    /// A list of much less than before means that something was lost on the way.
    /// - Parameter share: of the former that must be there at least.
    public mutating func compareSize(_ queries: Int64, before: Int64, share: Double) {
        guard Double(queries) < share * Double(before) else { return }
        faults.append("it has \(queries) queries, and before were \(before)")
    }

    /// - Parameters:
    ///   - tolerance: by which it may be worse.
    ///   - least: prefixes below which nothing can be said.
    public mutating func compareQuality(
        _ quality: SuggestQuality,
        before: SuggestQuality,
        tolerance: Double,
        least: Double
    ) {
        let (new, old) = (quality.meanReciprocalRank, before.meanReciprocalRank)
        guard quality.asked >= least, new < old - tolerance else { return }
        faults.append("its mean reciprocal rank is \(Self.short(new)), and before was \(Self.short(old))")
    }

    private static func short(_ number: Double) -> String {
        let thousandths = Int((number * 1000).rounded())
        let digits = String(thousandths % 1000)
        return "\(thousandths / 1000)." + String(repeating: "0", count: 3 - digits.count) + digits
    }
}
