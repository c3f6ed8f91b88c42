/// One session's unanswered sends, in order.
///
/// Sends are pipelined: the next goes out before the last is answered. A send that needs something first (its
/// conversation has to be made known, its cid looked up in history) holds back the later ones, so that messages
/// commit in the order in which the client sent them.
public struct SendQueue<Send> {
    public typealias Ticket = UInt64

    public enum Action {
        /// Give this send to Redis.
        case issue(Send, Ticket)
        /// Do what this send needs first, then call `prepared`.
        case prepare(Send, Ticket)
    }

    enum Stage { case unprepared, preparing, ready, inFlight }

    struct Item {
        let ticket: Ticket
        var send: Send
        var stage: Stage
    }

    private var items: [Item] = []
    private var nextTicket: Ticket = 0

    public init() {}

    public var count: Int { items.count }

    public mutating func submit(_ send: Send, needsPreparation: Bool) -> [Action] {
        nextTicket += 1
        items.append(Item(ticket: nextTicket, send: send, stage: needsPreparation ? .unprepared : .ready))
        return advance()
    }

    /// The send has its final answer.
    public mutating func finished(_ ticket: Ticket) -> [Action] {
        items.removeAll { $0.ticket == ticket }
        return advance()
    }

    /// Redis wants something first.
    public mutating func bounced(_ ticket: Ticket) -> [Action] {
        set(ticket) { $0.stage = .unprepared }
        return advance()
    }

    /// What the send needed is done; `send` may have been completed by it.
    public mutating func prepared(_ ticket: Ticket, _ send: Send) -> [Action] {
        set(ticket) {
            $0.send = send
            $0.stage = .ready
        }
        return advance()
    }

    private mutating func set(_ ticket: Ticket, _ change: (inout Item) -> Void) {
        guard let index = items.firstIndex(where: { $0.ticket == ticket }) else { return }
        change(&items[index])
    }

    private mutating func advance() -> [Action] {
        var actions: [Action] = []
        for index in items.indices {
            switch items[index].stage {
            case .inFlight: continue
            case .ready:
                items[index].stage = .inFlight
                actions.append(.issue(items[index].send, items[index].ticket))
            case .unprepared:
                // Earlier ones may still bounce; wait for their answers.
                guard index == items.startIndex else { return actions }
                items[index].stage = .preparing
                actions.append(.prepare(items[index].send, items[index].ticket))
                return actions
            case .preparing: return actions
            }
        }
        return actions
    }
}

extension SendQueue: Sendable where Send: Sendable {}
extension SendQueue.Item: Sendable where Send: Sendable {}
extension SendQueue.Action: Sendable where Send: Sendable {}
