import ParleyCore
import Testing

@Suite struct PollStateTests {
    /// A poll after 10 that found nothing and waits.
    private func waiting(limit: Int = 50) -> PollState {
        var state = PollState(cursor: 10, limit: limit)
        _ = state.subscribed()
        _ = state.looked(isAnswer: false)
        return state
    }

    @Test func `it looks once it is subscribed, and answers with what it finds`() {
        var state = PollState(cursor: 10, limit: 50)
        #expect(state.published(11) == .none, "the look is still to come")
        #expect(state.subscribed() == .look)
        #expect(state.subscribed() == .none)
        #expect(state.looked(isAnswer: true) == .answer)
        #expect(state.timeIsUp() == .none)
        #expect(state.published(11) == .none)
    }

    @Test func `a poll that does not wait looks once`() {
        var state = PollState(cursor: 10, limit: 50)
        #expect(state.timeIsUp() == .look)
        #expect(state.looked(isAnswer: false) == .answer)
        #expect(state.cursor == 10)
    }

    @Test func `the next entry is the answer, with those that come in the same breath`() {
        var state = waiting()
        #expect(state.phase == .waiting)
        #expect(state.published(11) == .take)
        #expect(state.published(12) == .take)
        #expect(state.published(14) == .none, "the next poll finds it")
        #expect(state.published(12) == .none)
        #expect(state.breathEnded() == .answer)
        #expect(state.cursor == 12)
        #expect(state.published(13) == .none)
        #expect(state.breathEnded() == .none)
    }

    @Test func `an answer takes no more than its limit`() {
        var state = waiting(limit: 2)
        #expect([11, 12, 13].map { state.published($0) } == [.take, .take, .none])
        #expect(state.cursor == 12)
        #expect(state.breathEnded() == .answer)
    }

    @Test func `an entry seen before is nothing, and a gap is looked at`() {
        var state = waiting()
        #expect(state.published(10) == .none)
        #expect(state.published(3) == .none)
        #expect(state.published(12) == .look)
        #expect(state.looked(isAnswer: true) == .answer)
    }

    @Test func `what is heard during a look is looked for again`() {
        var state = PollState(cursor: 10, limit: 50)
        _ = state.subscribed()
        #expect(state.published(11) == .none)
        #expect(state.looked(isAnswer: false) == .look, "the page was read before it")
        #expect(state.looked(isAnswer: false) == .none)
        #expect(state.phase == .waiting)
    }

    @Test func `a checked position sends to look, whichever way it differs`() {
        for (head, action) in [(10, .none), (11, .look), (9, .look)] as [(Int64, PollState.Action)] {
            var state = waiting()
            #expect(state.positionChecked(head: head) == action)
        }
        var state = waiting()
        _ = state.published(12)
        #expect(state.positionChecked(head: 12) == .none)
        #expect(state.looked(isAnswer: false) == .look, "the look may have been too early for the head")
    }

    @Test func `another epoch sends to look`() {
        var state = waiting()
        #expect(state.unsettled() == .look)
        #expect(state.unsettled() == .none)
        #expect(state.looked(isAnswer: false) == .look)
        #expect(state.looked(isAnswer: true) == .answer)
    }

    @Test func `the end of the wait`() {
        var state = waiting()
        #expect(state.timeIsUp() == .answer)
        #expect(state.timeIsUp() == .none)

        var looking = PollState(cursor: 10, limit: 50)
        _ = looking.subscribed()
        _ = looking.published(11)
        #expect(looking.timeIsUp() == .none)
        #expect(looking.looked(isAnswer: false) == .answer, "no more looks after the end")

        var taking = waiting()
        _ = taking.published(11)
        #expect(taking.timeIsUp() == .none)
        #expect(taking.breathEnded() == .answer)
        #expect(taking.cursor == 11)
    }
}
