/// All message ids, cut where partitions of history begin and end: which ranges a reader asks for one after the other.
///
/// Asked for everything at once, PostgreSQL plans, locks and searches all partitions. Asked for one range at a time, it
/// touches those of this range alone; the ranges grow, so that a long way takes few questions.
struct PartitionEdges: Sendable, Hashable {
    /// Rising, from 0 to `Int64.max`. Between two neighbours lies one partition; before the first and after the last
    /// partition, and in gaps, it is the default one.
    private let cuts: [Int64]

    init(_ partitions: [Range<Int64>] = []) {
        let bounds = Set(partitions.flatMap { [$0.lowerBound, $0.upperBound] })
        cuts = bounds.union([0, .max]).sorted()
    }

    /// The number of the range between two cuts that holds an id.
    private func index(of id: Int64) -> Int {
        min(cuts.lastIndex { $0 <= id } ?? 0, cuts.count - 2)
    }

    /// The partition that holds an id.
    func range(of id: Int64) -> Range<Int64> {
        let index = index(of: id)
        return cuts[index]..<cuts[index + 1]
    }

    /// The partitions from one id's to another's, as one range.
    func range(from lower: Int64, to upper: Int64) -> Range<Int64> {
        range(of: lower).lowerBound..<range(of: max(lower, upper)).upperBound
    }

    /// Down from the partition of an id to that of `floor`: one, then two, four … at a time. What lies before all
    /// partitions comes by itself, since the default partition is in no order with the others.
    func descending(from id: Int64, to floor: Int64) -> [Range<Int64>] {
        var upper = index(of: id) + 1
        var ranges: [Range<Int64>] = []
        var width = 1
        repeat {
            let lower = upper == 1 ? 0 : max(1, upper - width)
            ranges.append(cuts[lower]..<cuts[upper])
            upper = lower
            width *= 2
        } while upper > 0 && cuts[upper] > floor
        return ranges
    }

    /// Up from the partition of an id to that of `end`, as above, and then one at a time.
    func ascending(from id: Int64, to end: Int64) -> [Range<Int64>] {
        var lower = index(of: id)
        let last = index(of: end)
        var ranges: [Range<Int64>] = []
        var width = 1
        while lower < cuts.count - 1 {
            let upper = lower == 0 || lower >= last ? lower + 1 : min(last + 1, lower + width)
            ranges.append(cuts[lower]..<cuts[upper])
            lower = upper
            width *= 2
        }
        return ranges
    }
}
