internal import CLibpq
internal import Synchronization

/// Set when the task that waits for a statement is cancelled.
final class CancellationFlag: Sendable {
    private let cancelled = Atomic(false)
    private let waker: Waker

    init(waker: Waker) {
        self.waker = waker
    }

    var isSet: Bool { cancelled.load(ordering: .acquiring) }

    func set() {
        cancelled.store(true, ordering: .releasing)
        waker.wake()
    }
}

/// Asks the server to cancel a connection's statement. libpq blocks while it does so, also on a server that accepts
/// connections and answers nothing, hence a thread for the moment.
final class CancelRequest: Sendable {
    private let sent = Atomic(false)

    /// True once the server has taken the request: it cannot hit a later statement any more.
    var isSent: Bool { sent.load(ordering: .acquiring) }

    init(connection: OpaquePointer, waker: Waker) {
        // The address is a number here because pointers are not Sendable; only the thread uses it.
        guard let handle = PQgetCancel(connection).map({ UInt(bitPattern: $0) }) else { return }
        let started = startThread { [self] in
            let handle = OpaquePointer(bitPattern: handle)
            var message = [CChar](repeating: 0, count: 256)
            _ = PQcancel(handle, &message, Int32(message.count))
            PQfreeCancel(handle)
            sent.store(true, ordering: .releasing)
            waker.wake()
        }
        if !started { PQfreeCancel(OpaquePointer(bitPattern: handle)) }
    }
}

/// How long a statement may run and what happens then: first the server is asked to cancel it, and if it still does
/// not end, the connection is given up.
struct StatementLimit {
    enum Verdict: Equatable {
        case wait(Duration)
        case cancel(PostgresError.Code)
        case giveUp
    }

    var deadline: ContinuousClock.Instant
    var grace: Duration
    /// `nil` for COMMIT and ROLLBACK: a cancelled task must finish them all the same, and at their deadline a
    /// request to cancel would not make the outcome any clearer.
    var flag: CancellationFlag?
    private(set) var reason: PostgresError.Code?

    init(timeout: Duration, grace: Duration, flag: CancellationFlag?) {
        self.deadline = .now + min(timeout, .seconds(1 << 32))
        self.grace = grace
        self.flag = flag
    }

    mutating func check(at now: ContinuousClock.Instant) -> Verdict {
        if reason == nil, let flag {
            if flag.isSet { return cancel(.cancelled, at: now) }
            if now >= deadline { return cancel(.timeout, at: now) }
        }
        return now >= deadline ? .giveUp : .wait(deadline - now)
    }

    private mutating func cancel(_ code: PostgresError.Code, at now: ContinuousClock.Instant) -> Verdict {
        reason = code
        deadline = now + grace
        return .cancel(code)
    }
}
