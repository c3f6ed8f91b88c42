import Testing

@testable import ParleyCore

/// Maps of shards by weight, and what is asked of a list before it is put in force.
@Suite struct SuggestBuildingTests {
    /// An alphabet of which some letters begin far more than others, as in any language.
    private static func uneven() -> SuggestWeights {
        var weights = SuggestWeights()
        var seed: UInt64 = 42
        for letter in UInt8(ascii: "a")...UInt8(ascii: "z") {
            let words = letter == UInt8(ascii: "s") ? 4000 : letter < UInt8(ascii: "d") ? 900 : 40
            for _ in 0..<words {
                var key = [letter]
                for _ in 0..<7 {
                    seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                    key.append(UInt8(ascii: "a") + UInt8(seed >> 33 & 15))
                }
                weights.add(key, count: Double(1 + seed >> 60))
            }
        }
        return weights
    }

    @Test(arguments: [2, 4, 8])
    func `an uneven alphabet is made even`(shards: Int) throws {
        let weights = Self.uneven()
        let letters = stride(from: 26 / shards, to: 26, by: 26 / shards).prefix(shards - 1)
        let byLetter = try #require(SuggestShardMap(bounds: letters.map { [UInt8(ascii: "a") + UInt8($0)] }))
        let before = SuggestWeights.imbalance(of: weights.loads(under: byLetter))
        #expect(before > 1.15)
        let map = weights.split(into: shards)
        let loads = weights.loads(under: map)
        #expect(map.count == shards && loads.count == shards)
        #expect(SuggestWeights.imbalance(of: loads) <= 1.2)
        #expect(abs(loads.reduce(0, +) - weights.total) < 1e-6 * weights.total)
    }

    @Test func `a map has no more shards than there is to divide`() {
        var weights = SuggestWeights()
        #expect(weights.split(into: 8) == .single)
        #expect(SuggestWeights.imbalance(of: weights.loads(under: .single)) == 1)
        weights.add(Array("ab".utf8), count: 3)
        #expect(weights.split(into: 8).bounds == [Array("ab".utf8)])
        #expect(weights.split(into: 1) == .single)
        // What is asked for is "a" and "ab", each as often.
        #expect(weights.loads(under: weights.split(into: 2)) == [3, 3])
    }

    @Test func `characters of several bytes are not taken apart, and long beginnings count together`() {
        var weights = SuggestWeights()
        weights.add(Array("äß".utf8), count: 1)
        #expect(weights.total == 2)
        var long = SuggestWeights()
        long.add(Array("abcdefghijklmnop".utf8), count: 1)
        #expect(long.total == 12)
        let loads = long.loads(under: SuggestShardMap(bounds: [Array("abcdef".utf8)])!)
        #expect(loads == [5, 7])
    }

    @Test func `rank counts by its reciprocal, up to the fifth`() {
        var quality = SuggestQuality()
        #expect(quality.meanReciprocalRank == 0)
        quality.found(at: 0, weight: 2)
        quality.found(at: 3, weight: 1)
        quality.found(at: 5, weight: 1)
        quality.found(at: nil, weight: 1)
        #expect(quality.asked == 5)
        #expect(abs(quality.meanReciprocalRank - 2.25 / 5) < 1e-9)
    }

    private func quality(_ rank: Int?, asked: Double = 100) -> SuggestQuality {
        var quality = SuggestQuality()
        quality.found(at: rank, weight: asked)
        return quality
    }

    @Test func `a list with any fault stays out of force`() {
        var good = BuildVerdict()
        good.compare("queries", expected: 5, found: 5)
        good.forbid([])
        good.compareSize(60, before: 100, share: 0.5)
        good.compareQuality(quality(1), before: quality(1), tolerance: 0.02, least: 50)
        // Better, or too little to say anything.
        good.compareQuality(quality(0), before: quality(1), tolerance: 0.02, least: 50)
        good.compareQuality(quality(nil, asked: 10), before: quality(0, asked: 10), tolerance: 0.02, least: 50)
        #expect(good.isGood)

        var bad = BuildVerdict()
        bad.compare("queries", expected: 5, found: 4)
        bad.forbid(["one", "two"])
        bad.compareSize(49, before: 100, share: 0.5)
        bad.compareQuality(quality(4), before: quality(1), tolerance: 0.02, least: 50)
        #expect(bad.faults.count == 4 && !bad.isGood)
        #expect(bad.faults[1] == "2 forbidden queries are in it, as one")
        #expect(bad.faults[3] == "its mean reciprocal rank is 0.200, and before was 0.500")
    }
}
