import Testing

@testable import ParleyServer

/// Which ranges of partitions a reader asks for, one after the other.
@Suite struct HistoryEdgesTests {
    /// Ten partitions of ten ids each, from 100 to 200.
    private let edges = PartitionEdges((10..<20).map { Int64($0) * 10..<Int64($0 + 1) * 10 })

    @Test func `the way down begins with one partition and grows`() {
        #expect(
            edges.descending(from: 185, to: 0) == [180..<190, 160..<180, 120..<160, 100..<120, 0..<100],
            "what lies before all partitions stands alone"
        )
        #expect(edges.descending(from: 180, to: 130) == [180..<190, 160..<180, 120..<160])
        #expect(edges.descending(from: 189, to: 185) == [180..<190])
        #expect(edges.descending(from: 250, to: 170) == [200..<Int64.max, 180..<200, 140..<180])
        #expect(edges.descending(from: 50, to: 0) == [0..<100])
        #expect(edges.descending(from: -1, to: 0) == [0..<100])
    }

    @Test func `the way up grows as far as messages are known to be`() {
        #expect(
            edges.ascending(from: 115, to: 172)
                == [110..<120, 120..<140, 140..<180, 180..<190, 190..<200, 200..<Int64.max]
        )
        #expect(edges.ascending(from: 0, to: 105).prefix(3) == [0..<100, 100..<110, 110..<120])
        #expect(edges.ascending(from: 195, to: 191) == [190..<200, 200..<Int64.max])
        #expect(edges.ascending(from: .max, to: 191) == [200..<Int64.max])
    }

    @Test func `between two ids lies whole partitions' room`() {
        #expect(edges.range(from: 115, to: 131) == 110..<140)
        #expect(edges.range(from: 131, to: 115) == 130..<140)
        #expect(edges.range(from: 0, to: 300) == 0..<Int64.max)
    }

    @Test(arguments: [0, 1, 99, 100, 149, 199, 200, 1000, .max - 1] as [Int64])
    func `every way covers everything, once`(_ id: Int64) {
        let down = edges.descending(from: id, to: 0)
        #expect(down.first?.contains(id) == true)
        #expect(down.last?.lowerBound == 0)
        #expect(zip(down, down.dropFirst()).allSatisfy { $0.lowerBound == $1.upperBound })
        let up = edges.ascending(from: id, to: 150)
        #expect(up.first?.contains(id) == true)
        #expect(up.last?.upperBound == .max)
        #expect(zip(up, up.dropFirst()).allSatisfy { $0.upperBound == $1.lowerBound })
    }

    @Test func `gaps, and no partitions at all`() {
        let gap = PartitionEdges([100..<110, 150..<160])
        #expect(gap.descending(from: 155, to: 0) == [150..<160, 100..<150, 0..<100])
        #expect(PartitionEdges().descending(from: 5, to: 0) == [0..<Int64.max])
        #expect(PartitionEdges().ascending(from: 5, to: 7) == [0..<Int64.max])
    }
}
