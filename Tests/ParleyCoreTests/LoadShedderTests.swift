import ParleyCore
import Testing

@Suite struct LoadShedderTests {
    private typealias Load = LoadShedder.Load

    private func pressure(_ change: (inout LoadShedder.Pressure) -> Void) -> LoadShedder.Pressure {
        var pressure = LoadShedder.Pressure()
        change(&pressure)
        return pressure
    }

    @Test func `loads are given up in their order, whichever pressure rises`() {
        let rising: [(Int64) -> LoadShedder.Pressure] = [
            { step in pressure { $0.loopLag = step * 5 } },
            { step in pressure { $0.commitDelay = step * 6 } },
            { step in pressure { $0.backlog = Double(step) / 900 } },
            { step in pressure { $0.waitingQueries = Double(step) / 50 } },
        ]
        for (number, pressure) in rising.enumerated() {
            var shedder = LoadShedder()
            var seen: [Int] = []
            for step in 0..<1000 as Range<Int64> {
                let shed = shedder.observe(pressure(step), at: step * 250)
                #expect(shed == Set(Load.allCases.prefix(shed.count)), "no load before those that matter less")
                if seen.last != shed.count { seen.append(shed.count) }
            }
            // A send needs no PostgreSQL.
            #expect(seen == Array(0...(number == 3 ? 4 : 5)))
        }
    }

    @Test func `a flood of passwords costs new sign-ins alone`() {
        var shedder = LoadShedder()
        #expect(shedder.observe(pressure { $0.waitingHashes = 1 }, at: 0) == [.logins])
    }

    @Test func `what was given up comes back after a calm while, and does not flutter at the threshold`() {
        var shedder = LoadShedder()
        var now = 0 as Int64
        #expect(shedder.observe(pressure { $0.loopLag = 250 }, at: now) == [.presence])
        // Just below the threshold, for long.
        for _ in 0..<100 {
            now += 250
            #expect(shedder.observe(pressure { $0.loopLag = 150 }, at: now) == [.presence])
        }
        for _ in 0..<11 {
            now += 250
            #expect(shedder.observe(pressure { $0.loopLag = 50 }, at: now) == [.presence])
        }
        now += 250
        #expect(shedder.observe(pressure { $0.loopLag = 50 }, at: now) == [])
        // One moment of pressure is enough to give up, each time.
        #expect(shedder.observe(pressure { $0.loopLag = 900 }, at: now) == [.presence, .typing, .history])
    }
}
