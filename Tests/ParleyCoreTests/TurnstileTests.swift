import ParleyCore
import Testing

@Suite struct TurnstileTests {
    @Test func `so many are inside, and the others come in their order`() {
        var turnstile = Turnstile<Int>(width: 2)
        #expect((1...5).map { turnstile.arrived($0) } == [true, true, false, false, false])
        #expect(turnstile.left() == 3)
        #expect(turnstile.arrived(6) == false, "behind those who wait")
        #expect((0..<5).map { _ in turnstile.left() } == [4, 5, 6, nil, nil])
    }

    @Test func `those who wait can be sent away`() {
        var turnstile = Turnstile<Int>(width: 1)
        for visitor in 1...4 { _ = turnstile.arrived(visitor) }
        #expect(turnstile.left() == 2)
        #expect(turnstile.dismissed() == [3, 4])
        #expect(turnstile.arrived(5) == false, "one is inside")
        #expect([turnstile.left(), turnstile.left()] == [5, nil])
    }

    @Test func `it is empty as often as it was full`() {
        var turnstile = Turnstile<Int>(width: 1)
        for round in 0..<3 {
            #expect(turnstile.arrived(round) == true)
            #expect(turnstile.arrived(-round) == false)
            #expect(turnstile.left() == -round)
            #expect(turnstile.left() == nil)
        }
    }
}
