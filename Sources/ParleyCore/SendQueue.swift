/// One session's unanswered sends, in order.
///
/// Sends are pipelined: the next goes out before the last is answered. A send that needs something first (its
/// conversation has to be made known, its cid looked up in history) holds back the later ones until it has its final
/// answer, for it may want something more; so messages commit in the order in which the client sent them. A later one
/// that is in flight already is not held: submit with `needsPreparation` what Redis might refuse for a reason that the
/// next send does not share.
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
        /// Later ones wait for its answer.
        var isAlone: Bool
    }

    private var items: [Item] = []
    private var nextTicket: Ticket = 0

    public init() {}

    public var count: Int { items.count }

    public mutating func submit(_ send: Send, needsPreparation: Bool) -> [Action] {
        nextTicket += 1
        items.append(
            Item(
                ticket: nextTicket,
                send: send,
                stage: needsPreparation ? .unprepared : .ready,
                isAlone: needsPreparation
            )
        )
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
