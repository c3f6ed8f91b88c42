/// How those who only listen get their messages.
enum Receive: Codable, Sendable, Hashable {
    case webSocket
    /// By polls that wait until there is something.
    case longPoll
    /// By polls that do not wait, each so many seconds after the one before.
    case poll(every: Double)

    var isPolling: Bool { self != .webSocket }
}
