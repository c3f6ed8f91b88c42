import NIOCore
import ParleyCore
import ParleyWire

// How a session leaves a gateway that ends, or has too many.
extension Session {
    /// A little longer than Redis may take.
    private static let answerPatience = TimeAmount.seconds(6)

    /// Tells the client to go to another gateway, and ends the session within the drain window. Its last quarter is for
    /// the client to move: the new connection first, the end of this one after.
    func drain() {
        guard stage != .closing else { return }
        let quarter = services.configuration.drainWindow.nanoseconds / 4
        let wait = TimeAmount.nanoseconds(.random(in: 0...3 * quarter))
        tellToGo(.drain, after: wait, to: services.alternative)
        eventLoop.assumeIsolated().scheduleTask(in: wait + .nanoseconds(quarter)) { self.leave() }
    }

    func tellToGo(_ reason: DepartureReason, after wait: TimeAmount, to url: String?) {
        let milliseconds = wait.nanoseconds / 1_000_000
        write(
            ServerFrame(.goaway(.init(reason: reason.rawValue, reconnectMilliseconds: milliseconds, url: url)))
        )
    }

    /// Takes no more frames, answers those that it took, and closes.
    private func leave() {
        isLeaving = true
        closeWhenAnswered()
        eventLoop.assumeIsolated().scheduleTask(in: Self.answerPatience) { self.close(.drain) }
    }

    func closeWhenAnswered() {
        if isLeaving, sends.count == 0, unansweredCalls == 0 { close(.drain) }
    }
}
