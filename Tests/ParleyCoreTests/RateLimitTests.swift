import ParleyCore
import Testing

@Suite struct RateLimitTests {
    private let limit = RateLimit(10, perSeconds: 1, burst: 5)

    @Test func `a burst passes, then the lasting rate, and the wait that is told is enough and needed`() {
        var use = RateUse()
        for _ in 0..<5 { #expect(use.take(of: limit, at: 0) == 0) }
        let wait = use.take(of: limit, at: 0)
        #expect(wait == 100_000)
        // What was refused has taken nothing.
        #expect(use.take(of: limit, at: 0) == wait)
        #expect(use.take(of: limit, at: wait - 1) == 1)
        #expect(use.take(of: limit, at: wait) == 0)
        #expect(use.take(of: limit, at: wait) > 0)
    }

    @Test func `in any time no more passes than the burst and the rate`() {
        var generator = SplitMix64(state: 7)
        var use = RateUse()
        var (now, taken) = (0 as Int64, 0 as Int64)
        for _ in 0..<10_000 {
            now += Int64.random(in: 0...120_000, using: &generator)
            if use.take(of: limit, at: now) == 0 { taken += 1 }
            #expect(taken <= limit.burst + now / limit.interval)
        }
        // And, asked more often than the rate, no less.
        #expect(taken >= now / limit.interval - 1)
    }

    @Test func `a charge goes into debt, up to a bound, and is paid before anything passes`() {
        var use = RateUse()
        use.charge(8, of: limit, at: 0, debt: 10_000_000)
        #expect(use.take(of: limit, at: 0) == 400_000)
        use.charge(1_000_000, of: limit, at: 0, debt: 10_000_000)
        #expect(use.take(of: limit, at: 0) == 10_100_000)
        use.charge(1, of: limit, at: 0, debt: 0)
        #expect(use.take(of: limit, at: 0) == 10_100_000, "a charge takes no debt back")
    }

    @Test func `a pause lets nothing pass before its end`() {
        var use = RateUse()
        use.pause(2_000_000, of: limit, at: 0)
        #expect(use.take(of: limit, at: 0) == 2_000_000)
        #expect(use.take(of: limit, at: 2_000_000) == 0)
    }

    @Test func `what costs more than the burst passes when all is there`() {
        var use = RateUse()
        #expect(use.take(16, of: limit, at: 0) == 0)
        #expect(use.take(of: limit, at: 0) == 1_200_000)
    }

    @Test(arguments: [
        "10/s:60": (100_000, 60), "30/m:1": (2_000_000, 1), "60/h:60": (60_000_000, 60), "1/d:2": (86_400_000_000, 2),
    ])
    func `limits are read as people write them`(text: String, meaning: (interval: Int64, burst: Int64)) {
        #expect(RateLimit(text)?.interval == meaning.interval)
        #expect(RateLimit(text)?.burst == meaning.burst)
    }

    @Test(arguments: [
        "", "10", "10/s", "10/s:", "/s:1", "0/s:1", "1/s:0", "1/w:1", "-1/s:1", "1/s:1:1", "1/s/s:1", "a/s:1",
    ])
    func `what is no limit is not read`(text: String) { #expect(RateLimit(text) == nil) }
}

@Suite struct RecentTableTests {
    @Test func `however many keys come, it stays within twice its capacity, and keeps what is used`() {
        var table = RecentTable<Int, Int>(capacity: 100)
        _ = table.value(for: -1) { 42 }
        for key in 0..<10_000 {
            _ = table.value(for: key) { key }
            #expect(table.count <= 200)
            if key % 50 == 0 { #expect(table.value(for: -1) { 0 } == 42) }
        }
        #expect(table.value(for: 0) { -7 } == -7, "what was not used for long is made anew")
    }
}
