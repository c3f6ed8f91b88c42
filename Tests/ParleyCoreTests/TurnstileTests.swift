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
