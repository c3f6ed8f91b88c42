/// What a poll for events does next: a reader of its user's sync queue that waits for one answer.
///
/// It looks at the queue after it has subscribed, so that nothing falls between. Where it finds nothing it waits, and
/// takes a published entry as it came if that is the next one; anything else that it hears sends it to look again.
public struct PollState: Sendable, Equatable {
    public enum Phase: Sendable, Equatable {
        /// Not yet sure to hear of everything that is published.
        case subscribing
        /// The queue is being looked at.
        case looking
        case waiting
        /// The next entries came; those that come in the same breath go with them.
        case taking
        case answered
    }

    public enum Action: Sendable, Equatable {
        case none
        /// Look at the queue after the cursor.
        case look
        /// This entry belongs to the answer.
        case take
        /// Answer with what was found or taken, nothing included.
        case answer
    }

    /// The last position that the client has or is about to get.
    public private(set) var cursor: Int64
    public private(set) var phase = Phase.subscribing
    /// Something was heard that the look under way may have been too early for.
    private var isLookStale = false
    private var isTimeUp = false
    /// Entries that the answer may still take.
    private var room: Int

    /// - Parameters:
    ///   - cursor: the position that the client has.
    ///   - limit: entries of an answer, at least 1.
    public init(cursor: Int64, limit: Int) {
        self.cursor = cursor
        room = limit
    }

    /// Everything that is published from now on will be heard.
    public mutating func subscribed() -> Action { phase == .subscribing ? look() : .none }

    private mutating func look() -> Action {
        phase = .looking
        isLookStale = false
        return .look
    }

    /// The queue was looked at.
    /// - Parameter isAnswer: what was found is an answer: entries, or that the client must resync.
    public mutating func looked(isAnswer: Bool) -> Action {
        precondition(phase == .looking, "a look that nobody asked for")
        if !isAnswer, !isTimeUp {
            if isLookStale { return look() }
            phase = .waiting
            return .none
        }
        phase = .answered
        return .answer
    }

    /// An entry was published. On the first `.take` the caller sees to it that `breathEnded` is called.
    public mutating func published(_ q: Int64) -> Action {
        switch phase {
        case .waiting where q == cursor + 1, .taking where q == cursor + 1 && room > 0:
            phase = .taking
            cursor = q
            room -= 1
            return .take
        case .waiting: return q > cursor ? look() : .none
        case .looking:
            isLookStale = true
            return .none
        case .subscribing, .taking, .answered: return .none
        }
    }

    /// Everything that came together with the first entry taken has been seen.
    public mutating func breathEnded() -> Action {
        guard phase == .taking else { return .none }
        phase = .answered
        return .answer
    }

    /// The queue's head was looked up.
    public mutating func positionChecked(head: Int64) -> Action { head == cursor ? .none : unsettled() }

    /// The queue may not be what it was.
    public mutating func unsettled() -> Action {
        switch phase {
        case .waiting: return look()
        case .looking:
            isLookStale = true
            return .none
        case .subscribing, .taking, .answered: return .none
        }
    }

    /// The time to wait is over, for whatever reason; one that is over before it began makes a poll that never waits.
    public mutating func timeIsUp() -> Action {
        isTimeUp = true
        switch phase {
        case .subscribing: return look()
        case .waiting:
            phase = .answered
            return .answer
        case .looking, .taking, .answered: return .none
        }
    }
}
