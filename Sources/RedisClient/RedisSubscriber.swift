public import NIOCore

/// Subscriptions on one event loop, kept over losses of the connection: it subscribes anew by itself. What was published
/// in between is gone, and `onResubscribed` says so.
///
/// All state is touched on `eventLoop` only, which is what makes the class safe to pass around.
public final class RedisSubscriber: @unchecked Sendable {
    private struct Subscription {
        /// Of the SUBSCRIBE that confirms it: a channel given up and wanted again at once has several on their way.
        var ticket = 0
        var isConfirmed = false
        var waiters: [() -> Void] = []
    }

    public var eventLoop: any EventLoop { feed.eventLoop }
    private let feed: RedisFeed
    private let onResubscribed: () -> Void
    private var subscriptions: [String: Subscription] = [:]
    private var lastTicket = 0
    private var isWhole = false

    /// Channels named in one SUBSCRIBE.
    private static let chunk = 1000

    /// - Parameter onResubscribed: called on the event loop when, after a loss, every subscription stands again.
    init(_ feed: RedisFeed, onResubscribed: @escaping () -> Void) {
        self.feed = feed
        self.onResubscribed = onResubscribed
    }

    /// - Parameter onMessage: called on the event loop for every message.
    func start(onMessage: @escaping (_ channel: ByteBuffer, _ payload: ByteBuffer) -> Void) {
        feed.start(onMessage: onMessage) { self.subscribeAnew() }
    }

    /// Ends the connection for good.
    public func close() async { await feed.close() }

    /// Drops the connection as if the network had. For tests.
    public func reset() { feed.reset() }

    // MARK: On the event loop

    /// Connected, with every subscription confirmed, and what is published comes here.
    public var isHealthy: Bool { feed.isHealthy && isWhole }

    /// How often a connection was lost.
    public var losses: Int { feed.losses }

    /// Subscribes, now or when the connection is back. `confirmed` runs when the server has said that every message
    /// published from now on comes here.
    public func subscribe(_ channel: String, confirmed: @escaping () -> Void = {}) {
        eventLoop.preconditionInEventLoop()
        if let subscription = subscriptions[channel] {
            guard !(subscription.isConfirmed && feed.isReady) else { return confirmed() }
            subscriptions[channel]?.waiters.append(confirmed)
        } else {
            subscriptions[channel] = Subscription(waiters: [confirmed])
            ask([channel])
        }
    }

    public func unsubscribe(_ channel: String) {
        eventLoop.preconditionInEventLoop()
        if subscriptions.removeValue(forKey: channel) != nil { feed.unsubscribe([channel]) }
    }

    private func subscribeAnew() {
        isWhole = false
        let channels = Array(subscriptions.keys)
        for start in stride(from: 0, to: channels.count, by: Self.chunk) {
            ask(channels[start..<min(start + Self.chunk, channels.count)])
        }
        feed.barrier {
            self.isWhole = true
            self.onResubscribed()
        }
    }

    private func ask(_ channels: ArraySlice<String>) {
        lastTicket += 1
        let ticket = lastTicket
        for channel in channels {
            subscriptions[channel]?.ticket = ticket
            subscriptions[channel]?.isConfirmed = false
        }
        feed.subscribe(channels)
        feed.barrier { for channel in channels { self.confirm(channel, ticket) } }
    }

    private func confirm(_ channel: String, _ ticket: Int) {
        guard let subscription = subscriptions[channel], subscription.ticket == ticket else { return }
        subscriptions[channel] = Subscription(ticket: ticket, isConfirmed: true)
        for waiter in subscription.waiters { waiter() }
    }
}
