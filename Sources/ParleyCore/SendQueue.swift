/// One session's unanswered sends, in order.
///
/// Sends are pipelined: the next goes out before the last is answered. One that Redis may refuse because it wants
/// something first (its conversation made known, its cid looked up in history) goes *alone*: after the answers of the
/// earlier ones, and with the later ones held until its own final answer. So messages commit in the order in which the
/// client sent them. A send that is refused without having been alone is prepared and goes alone from then on; later
/// ones that were in flight by then cannot be called back.
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
        /// Nothing else is in flight with it.
        var isAlone: Bool
    }

    private var items: [Item] = []
    private var nextTicket: Ticket = 0

    public init() {}

    public var count: Int { items.count }

    /// - Parameter isAlone: Redis might refuse it for a reason that the next send does not share.
    public mutating func submit(_ send: Send, isAlone: Bool) -> [Action] {
        nextTicket += 1
        items.append(Item(ticket: nextTicket, send: send, stage: .ready, isAlone: isAlone))
        return advance()
    }

    /// The send has its final answer.
    public mutating func finished(_ ticket: Ticket) -> [Action] {
        items.removeAll { $0.ticket == ticket }
        return advance()
    }

    /// Redis wants something first; `send` says what.
    public mutating func bounced(_ ticket: Ticket, _ send: Send) -> [Action] {
        set(ticket) {
            $0.send = send
            $0.stage = .unprepared
            $0.isAlone = true
        }
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
            case .inFlight: break
            case .ready:
                guard !items[index].isAlone || index == items.startIndex else { return actions }
                items[index].stage = .inFlight
                actions.append(.issue(items[index].send, items[index].ticket))
            case .unprepared:
                // Earlier ones may still bounce; and a later one in flight that wants the same would commit first
                // once it is there.
                guard index == items.startIndex, !items.contains(where: { $0.stage == .inFlight }) else {
                    return actions
                }
                items[index].stage = .preparing
                actions.append(.prepare(items[index].send, items[index].ticket))
                return actions
            case .preparing: return actions
            }
            if items[index].isAlone { return actions }
        }
        return actions
    }
}

extension SendQueue: Sendable where Send: Sendable {}
extension SendQueue.Item: Sendable where Send: Sendable {}
extension SendQueue.Action: Sendable where Send: Sendable {}
