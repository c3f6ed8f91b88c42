import NIOCore
import Testing

@testable import RedisClient

@Suite struct CanaryTests {
    private let begin = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    @Test func `what comes by in time keeps it well`() {
        var canary = Canary()
        canary.connected()
        #expect(!canary.hasComeBy)
        let first = canary.next()
        canary.published(first, at: begin)
        canary.heard(first)
        #expect(canary.hasComeBy && !canary.isOverdue(at: begin + .hours(1)))
    }

    @Test func `the message may come before the publisher is answered`() {
        var canary = Canary()
        canary.connected()
        let first = canary.next()
        canary.heard(first)
        canary.published(first, at: begin)
        #expect(!canary.isOverdue(at: begin + .hours(1)))
    }

    @Test func `what was taken and does not come by is overdue, counted from the first`() {
        var canary = Canary()
        canary.connected()
        canary.heard(canary.next())
        for seconds in stride(from: Int64(0), through: 4, by: 2) {
            canary.published(canary.next(), at: begin + .seconds(seconds))
        }
        #expect(!canary.isOverdue(at: begin + .seconds(5)))
        #expect(canary.isOverdue(at: begin + .seconds(6)))
    }

    @Test func `what the server did not take is no sign`() {
        var canary = Canary()
        canary.connected()
        _ = canary.next()
        #expect(!canary.isOverdue(at: begin + .hours(1)))
    }

    @Test func `a new connection begins anew`() {
        var canary = Canary()
        canary.connected()
        let first = canary.next()
        canary.heard(first)
        let lost = canary.next()
        canary.published(lost, at: begin)
        canary.connected()
        #expect(!canary.hasComeBy && !canary.isOverdue(at: begin + .hours(1)))
        canary.published(lost, at: begin)
        #expect(!canary.isOverdue(at: begin + .hours(1)))
    }
}
