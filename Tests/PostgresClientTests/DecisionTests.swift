import Testing

@testable import PostgresClient

/// What decides without I/O.
@Suite struct DecisionTests {
    private typealias State = PoolState<String, Int>

    private func ticket(_ acquisition: State.Acquisition) -> UInt64? {
        if case .wait(let ticket) = acquisition { ticket } else { nil }
    }

    private func lease(_ acquisition: State.Acquisition) -> String? {
        if case .lease(let connection) = acquisition { connection } else { nil }
    }

    @Test func poolServesInOrder() throws {
        var state = State(limit: 1)
        guard case .open = state.acquire() else { throw PostgresError(.server, "nothing to open") }
        let tickets = try (0..<4).map { _ in try #require(ticket(state.acquire())) }
        // The first to ask is the first to be served, also when it settles down last.
        for waiter in [3, 1, 2, 0] {
            #expect(ticket(state.enqueue(waiter, ticket: tickets[waiter])) == tickets[waiter])
        }
        #expect(state.abandon(ticket: tickets[2]) == 2)
        #expect(state.abandon(ticket: tickets[2]) == nil)
        #expect(state.release("a") == 0)
        #expect(state.release("a") == 1)
        #expect(state.release("a") == 3)
        #expect(state.leased == 1)
        #expect(state.release("a") == nil)
        #expect(state.leased == 0)
        #expect(lease(state.acquire()) == "a")
    }

    @Test func poolNoticesWhatHappenedBeforeTheWait() throws {
        var state = State(limit: 1)
        _ = state.acquire()
        let early = try #require(ticket(state.acquire()))
        let late = try #require(ticket(state.acquire()))
        #expect(ticket(state.enqueue(2, ticket: late)) == late)
        #expect(state.release("a") == 2)
        #expect(state.release("a") == nil)
        #expect(lease(state.enqueue(1, ticket: early)) == "a")
        let next = try #require(ticket(state.acquire()))
        #expect(ticket(state.enqueue(3, ticket: next)) == next)
        #expect(state.close() == [3])
        #expect(state.release("a") == nil)
        guard case .closed = state.acquire() else { throw PostgresError(.server, "a closed pool leases") }
    }

    @Test func poolWithoutConnectionsOpensAgain() throws {
        var state = State(limit: 1)
        _ = state.acquire()
        state.openFailed()
        guard case .open = state.acquire() else { throw PostgresError(.server, "the place is lost") }
    }

    @Test func backoffGrowsToItsBound() {
        var backoff = Backoff()
        let error = PostgresError(.connectionFailed, "refused")
        var now = ContinuousClock.now
        #expect(backoff.refusal(at: now) == nil)
        for expected in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
            backoff.failed(error, at: now, jitter: 0)
            // A second attempt beside the first counts no further.
            backoff.failed(error, at: now, jitter: 1)
            #expect(backoff.refusal(at: now + .milliseconds(expected - 1)) == error)
            now += .milliseconds(expected)
            #expect(backoff.refusal(at: now) == nil)
        }
        backoff.failed(error, at: now, jitter: 1)
        #expect(backoff.refusal(at: now + .milliseconds(2999)) == error)
        #expect(backoff.refusal(at: now + .milliseconds(3000)) == nil)
        backoff.succeeded()
        #expect(backoff.refusal(at: now) == nil)
    }

    @Test func statementIsCancelledAndThenGivenUp() {
        let flag = CancellationFlag(waker: Waker())
        var limit = StatementLimit(timeout: .seconds(10), grace: .seconds(2), flag: flag)
        let end = limit.deadline
        #expect(limit.check(at: end - .seconds(3)) == .wait(.seconds(3)))
        flag.set()
        #expect(limit.check(at: end - .seconds(3)) == .cancel(.cancelled))
        #expect(limit.check(at: end - .seconds(3)) == .wait(.seconds(2)))
        #expect(limit.check(at: end - .seconds(1)) == .giveUp)

        var slow = StatementLimit(timeout: .seconds(10), grace: .seconds(2), flag: CancellationFlag(waker: Waker()))
        #expect(slow.check(at: slow.deadline) == .cancel(.timeout))
        var commit = StatementLimit(timeout: .seconds(10), grace: .seconds(2), flag: nil)
        #expect(commit.check(at: commit.deadline) == .giveUp)
    }
}
