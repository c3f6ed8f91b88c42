import ParleyCore
import Testing

@Suite struct RebalancingTests {
    private static func terms(band: Double = 0.2, least: Int = 10, rate: Int = 20) -> Rebalancing.Terms {
        var terms = Rebalancing.Terms()
        (terms.band, terms.leastExcess, terms.rate) = (band, least, rate)
        return terms
    }

    /// A fleet in which every second the gateways decide, each by a picture that is a second old, and those who are told
    /// go two seconds later, to a gateway below the mean.
    private struct Fleet {
        var sessions: [Int]
        let capacity: [Int]
        var moves = 0
        private var plans: [Rebalancing]
        private var onTheWay: [(due: Int, from: Int)] = []
        private var picture: [Int]
        private var second = 0

        init(_ sessions: [Int], capacity: [Int], _ terms: Rebalancing.Terms) {
            (self.sessions, self.capacity, picture) = (sessions, capacity, sessions)
            plans = sessions.map { _ in Rebalancing(terms) }
        }

        mutating func run(seconds: Int, _ generator: inout some RandomNumberGenerator) {
            for _ in 0..<seconds { tick(&generator) }
        }

        private mutating func tick(_ generator: inout some RandomNumberGenerator) {
            second += 1
            let seen = picture
            picture = sessions
            for index in sessions.indices {
                let leaving = onTheWay.count { $0.from == index }
                let others = sessions.indices.filter { $0 != index }
                let count = plans[index].toShed(
                    own: .init(sessions: sessions[index], capacity: capacity[index]),
                    leaving: leaving,
                    others: others.map { .init(sessions: seen[$0], capacity: capacity[$0]) }
                )
                onTheWay += Array(repeating: (second + 2, index), count: count)
            }
            let mean = Double(seen.reduce(0, +)) / Double(capacity.reduce(0, +))
            for move in onTheWay where move.due <= second {
                let below = seen.indices.filter { Double(seen[$0]) / Double(capacity[$0]) < mean && $0 != move.from }
                guard let target = below.randomElement(using: &generator) else { continue }
                sessions[move.from] -= 1
                sessions[target] += 1
                moves += 1
            }
            onTheWay.removeAll { $0.due <= second }
        }
    }

    @Test func aNewGatewayFillsUpAndThenThereIsPeace() {
        var generator = SystemRandomNumberGenerator()
        var fleet = Fleet([3000, 3000, 0], capacity: [18_000, 18_000, 18_000], Self.terms(least: 100))
        fleet.run(seconds: 120, &generator)
        #expect(fleet.sessions.reduce(0, +) == 6000)
        #expect(
            fleet.sessions.allSatisfy { $0 <= 2240 },
            "the share is 2000, the band a fifth of it, half of it the aim"
        )
        #expect(fleet.sessions[2] >= 1500)
        // No session has moved twice: as many moves as there are sessions on the new one.
        #expect(fleet.moves == fleet.sessions[2])
        let settled = fleet.sessions
        fleet.run(seconds: 60, &generator)
        #expect(fleet.sessions == settled)
    }

    @Test func sharesFollowWhatAGatewayMayHold() {
        var generator = SystemRandomNumberGenerator()
        var fleet = Fleet([600, 600], capacity: [1000, 3000], Self.terms())
        fleet.run(seconds: 60, &generator)
        #expect(300...330 ~= fleet.sessions[0])
    }

    @Test func withinTheBandAndForAFewNobodyMoves() {
        #expect(Self.shed((119, 81)) == [0])
        #expect(Self.shed((9, 0)) == [0], "4.5 above the share, which is little however much it is in percent")
        #expect(Self.shed((121, 79)) == [11], "at most to half of the band")
        #expect(
            Self.shed((121, 79), (115, 85), (110, 90), (115, 85)) == [11, 5, 0, 0],
            "once begun it goes on below it"
        )
        #expect(Self.shed((900, 0)) == [20], "a few a second")
        #expect(Self.shed(band: 0, (900, 0)) == [0])
        var plan = Rebalancing(Self.terms())
        #expect(plan.toShed(own: .init(sessions: 100, capacity: 1000), leaving: 0, others: []) == 0)
    }

    /// What one of two equals sheds, second by second.
    private static func shed(band: Double = 0.2, _ seconds: (own: Int, other: Int)...) -> [Int] {
        var plan = Rebalancing(terms(band: band))
        return seconds.map {
            let other = Rebalancing.Load(sessions: $0.other, capacity: 1000)
            return plan.toShed(own: .init(sessions: $0.own, capacity: 1000), leaving: 0, others: [other])
        }
    }

    /// Thirty on one of two, all of those who are told on their way at once, and for a while in neither picture.
    @Test func whoIsOnTheWayCounts() {
        var plan = Rebalancing(Self.terms())
        func shed(_ own: Int, leaving: Int, _ other: Int) -> Int {
            let other = Rebalancing.Load(sessions: other, capacity: 1000)
            return plan.toShed(own: .init(sessions: own, capacity: 1000), leaving: leaving, others: [other])
        }
        #expect(shed(30, leaving: 0, 0) == 14)
        #expect(shed(30, leaving: 14, 0) == 0)
        #expect(shed(16, leaving: 0, 0) == 0, "gone, and not seen at the other yet")
        #expect(shed(16, leaving: 0, 14) == 0)
    }
}

@Suite struct IsolationTests {
    @Test func sessionsAreToldWithinTheWindowAndNotBefore() {
        var isolation = Isolation(window: 10_000, now: 0)
        isolation.failed()
        var untold = 1000
        for second in stride(from: 0, to: Isolation.patience, by: 1000) {
            #expect(isolation.toTell(of: untold, at: second) == 0)
        }
        var most = 0
        for second in stride(from: Isolation.patience, to: Isolation.patience + 10_000, by: 1000) {
            #expect(isolation.isCutOff(at: second))
            let count = isolation.toTell(of: untold, at: second)
            most = max(most, count)
            untold -= count
        }
        #expect(untold == 0)
        #expect(most <= 101, "none of the seconds has them all")
        #expect(isolation.toTell(of: 3, at: 100_000) == 3, "who comes later is told at once")
    }

    @Test func anAnswerEndsIt() {
        var isolation = Isolation(window: 10_000, now: 0)
        isolation.failed()
        isolation.answered(at: 7000)
        isolation.failed()
        #expect(!isolation.isCutOff(at: 11_999))
        #expect(isolation.toTell(of: 100, at: 11_999) == 0)
        isolation.answered(at: 3000)
        #expect(isolation.heard == 7000, "a late answer takes nothing back")
    }

    @Test func aGatewayThatStoodStillIsNotCutOff() {
        var isolation = Isolation(window: 10_000, now: 0)
        #expect(!isolation.isCutOff(at: 60_000))
        isolation.failed()
        #expect(isolation.isCutOff(at: 60_000))
        isolation.answered(at: 60_000)
        #expect(!isolation.isCutOff(at: 120_000))
    }
}
