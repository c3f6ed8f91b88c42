import Logging
public import NIOCore

/// A connection for subscriptions on one event loop. It reconnects by itself and subscribes anew; what was published
/// in between is gone, and `onResubscribed` says so.
///
/// All state is touched on `eventLoop` only, which is what makes the class safe to pass around.
public final class RedisSubscriber: @unchecked Sendable {
    private enum State {
        case disconnected
        case greeting(any Channel, repliesMissing: Int)
        case ready(any Channel)
        case closed
    }

    private struct Subscription {
        var isConfirmed = false
        var waiters: [() -> Void] = []
    }

    public let eventLoop: any EventLoop
    private let transport: RedisTransport
    private let logger: Logger
    /// Called on the event loop for every message.
    private let onMessage: (_ channel: ByteBuffer, _ payload: ByteBuffer) -> Void
    /// Called on the event loop when, after a loss, every subscription stands again.
    private let onResubscribed: () -> Void

    private var state = State.disconnected
    private var generation = 0
    private var attempts = 0
    private var subscriptions: [String: Subscription] = [:]
    private var unconfirmedAfterLoss: Set<String> = []
    /// SUBSCRIBEs without an answer: a channel given up and wanted again at once is confirmed by the last one.
    private var unanswered: [String: Int] = [:]
    private var outbound = ByteBuffer()
    private var isFlushScheduled = false
    private var heartbeat: RepeatedTask?
    private var lastHeard = NIODeadline.now()

    /// Channels named in one SUBSCRIBE.
    private static let chunk = 1000
    /// PING goes out this often, and three times of silence end the connection: a wedged subscriber looks healthy
    /// from everywhere else.
    private static let heartbeatInterval = TimeAmount.seconds(2)

    init(
        eventLoop: any EventLoop,
        transport: RedisTransport,
        logger: Logger,
        onMessage: @escaping (ByteBuffer, ByteBuffer) -> Void,
        onResubscribed: @escaping () -> Void
    ) {
        self.eventLoop = eventLoop
        self.transport = transport
        self.logger = logger
        self.onMessage = onMessage
        self.onResubscribed = onResubscribed
    }

    // MARK: Subscriptions, on the event loop

    /// Subscribes, now or when the connection is back. `confirmed` runs when the server has said that every message
    /// published from now on comes here.
    public func subscribe(_ channel: String, confirmed: @escaping () -> Void = {}) {
        eventLoop.preconditionInEventLoop()
        if let subscription = subscriptions[channel] {
            if subscription.isConfirmed { confirmed() } else { subscriptions[channel]?.waiters.append(confirmed) }
            return
        }
        subscriptions[channel] = Subscription(waiters: [confirmed])
        if case .ready = state { writeSubscribe([channel]) }
    }

    public func unsubscribe(_ channel: String) {
        eventLoop.preconditionInEventLoop()
        guard subscriptions.removeValue(forKey: channel) != nil else { return }
        if case .ready = state { write(RedisCommand("UNSUBSCRIBE", channel)) }
        settleAfterLoss(channel)
    }

    /// Connected, with every subscription confirmed.
    public var isHealthy: Bool {
        guard case .ready = state else { return false }
        return unconfirmedAfterLoss.isEmpty
    }

    /// Drops the connection as if the network had. For tests.
    public func reset() {
        eventLoop.execute { self.channel?.close(promise: nil) }
    }

    // MARK: Life

    func start() {
        eventLoop.execute {
            self.connect()
            self.heartbeat = self.eventLoop.scheduleRepeatedTask(
                initialDelay: Self.heartbeatInterval,
                delay: Self.heartbeatInterval
            ) { _ in self.beat() }
        }
    }

    /// Ends the connection for good.
    public func close() async {
        let done = eventLoop.makePromise(of: Void.self)
        eventLoop.execute {
            let channel = self.channel
            self.state = .closed
            self.heartbeat?.cancel()
            channel?.close(promise: nil)
            done.succeed()
        }
        try? await done.futureResult.get()
    }

    private var channel: (any Channel)? {
        switch state {
        case .ready(let channel), .greeting(let channel, _): channel
        case .disconnected, .closed: nil
        }
    }

    private func connect() {
        guard case .disconnected = state else { return }
        generation += 1
        let generation = self.generation
        let future = transport.connect(on: eventLoop) {
            RedisChannelHandler(
                onReply: { if generation == self.generation { self.received($0) } },
                onClose: { if generation == self.generation { self.lost($0) } }
            )
        }
        future.assumeIsolated().whenComplete { result in
            switch result {
            case .success(let channel): self.greet(channel)
            case .failure(let error): self.lost(RedisError(.notConnected, outcome: .failed, "\(error)"))
            }
        }
    }

    private func greet(_ channel: any Channel) {
        guard case .disconnected = state else { return channel.close(promise: nil) }
        let greeting = transport.greeting
        state = .greeting(channel, repliesMissing: greeting.count)
        lastHeard = .now()
        for command in greeting { write(command) }
    }

    private func becomeReady(_ channel: any Channel) {
        state = .ready(channel)
        attempts = 0
        let names = Array(subscriptions.keys)
        unconfirmedAfterLoss = Set(names)
        for start in stride(from: 0, to: names.count, by: Self.chunk) {
            writeSubscribe(names[start..<min(start + Self.chunk, names.count)])
        }
        if names.isEmpty { onResubscribed() }
    }

    private func lost(_ reason: RedisError) {
        if case .closed = state { return }
        logger.warning("redis subscriber lost", metadata: ["reason": "\(reason.message)"])
        state = .disconnected
        outbound.clear()
        unanswered.removeAll()
        for name in subscriptions.keys { subscriptions[name]?.isConfirmed = false }
        eventLoop.scheduleTask(in: transport.configuration.backoff.delay(attempt: attempts)) { self.connect() }
        attempts += 1
    }

    private func beat() {
        guard let channel else { return }
        if lastHeard + .nanoseconds(Self.heartbeatInterval.nanoseconds * 3) < .now() {
            generation += 1
            lost(RedisError(.timeout, outcome: .unknown, "no answer to PING"))
            channel.close(promise: nil)
        } else if case .ready = state {
            write(RedisCommand("PING"))
        }
    }

    // MARK: Bytes

    private func received(_ value: RESPValue) {
        lastHeard = .now()
        switch state {
        case .greeting(let channel, let missing):
            if case .error(let error) = value {
                generation += 1
                lost(.server(error))
                channel.close(promise: nil)
            } else if missing > 1 {
                state = .greeting(channel, repliesMissing: missing - 1)
            } else {
                becomeReady(channel)
            }
        case .ready: dispatch(value)
        case .disconnected, .closed: break
        }
    }

    private func dispatch(_ value: RESPValue) {
        guard case .array(let parts) = value, parts.count >= 2, case .bulk(let kind) = parts[0] else { return }
        switch kind.readableBytesView.first {
        case UInt8(ascii: "m"):
            if parts.count == 3, case .bulk(let channel) = parts[1], case .bulk(let payload) = parts[2] {
                onMessage(channel, payload)
            }
        case UInt8(ascii: "s"):
            if let name = parts[1].string { confirm(name) }
        default: break  // unsubscribe, pong
        }
    }

    private func writeSubscribe(_ names: some Collection<String>) {
        for name in names { unanswered[name, default: 0] += 1 }
        write(RedisCommand(["SUBSCRIBE"] + names))
    }

    private func confirm(_ name: String) {
        let missing = unanswered.removeValue(forKey: name) ?? 1
        guard missing == 1 else {
            unanswered[name] = missing - 1
            return
        }
        // Not ours any more when an UNSUBSCRIBE has overtaken the answer.
        if var subscription = subscriptions[name] {
            let waiters = subscription.waiters
            subscription.isConfirmed = true
            subscription.waiters = []
            subscriptions[name] = subscription
            for waiter in waiters { waiter() }
        }
        settleAfterLoss(name)
    }

    private func settleAfterLoss(_ name: String) {
        if unconfirmedAfterLoss.remove(name) != nil, unconfirmedAfterLoss.isEmpty { onResubscribed() }
    }

    private func write(_ command: RedisCommand) {
        outbound.writeImmutableBuffer(command.bytes)
        guard !isFlushScheduled else { return }
        isFlushScheduled = true
        eventLoop.execute {
            self.isFlushScheduled = false
            guard self.outbound.readableBytes > 0, let channel = self.channel else { return }
            channel.writeAndFlush(self.outbound, promise: nil)
            self.outbound = channel.allocator.buffer(capacity: 1024)
        }
    }
}
