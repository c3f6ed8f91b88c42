import Logging
public import NIOCore

/// A connection that hears channels and keeps no record of them: for an owner who can tell at any time which they are,
/// where a record of each would cost more than what it is for. It reconnects by itself; the owner subscribes anew.
///
/// All state is touched on `eventLoop` only, which is what makes the class safe to pass around.
public final class RedisFeed: @unchecked Sendable {
    private enum State {
        case disconnected
        case greeting(any Channel, repliesMissing: Int)
        case ready(any Channel)
        case closed
    }

    public let eventLoop: any EventLoop
    private let transport: RedisTransport
    private let logger: Logger
    private var onMessage: (_ channel: ByteBuffer, _ payload: ByteBuffer) -> Void = { _, _ in }
    private var onReady: () -> Void = {}

    private var state = State.disconnected
    private var generation = 0
    private var attempts = 0
    /// Channels that were named in SUBSCRIBE and UNSUBSCRIBE; the server answers for each, in order.
    private var asked = 0
    private var answered = 0
    /// What to run when so many are answered.
    private var barriers = CircularBuffer<(asked: Int, done: () -> Void)>()
    private var outbound = ByteBuffer()
    private var isFlushScheduled = false
    private var heartbeat: RepeatedTask?
    private var lastHeard = NIODeadline.now()
    /// Publishes what this connection must hear.
    private let publisher: RedisConnection
    private let canaryChannel = "canary:\(UInt64.random(in: 0...(.max)))"
    private var canary = Canary()
    /// How often a connection was lost.
    public private(set) var losses = 0

    /// PING goes out this often, and three times of silence end the connection: a wedged one looks healthy from
    /// everywhere else.
    private static let heartbeatInterval = TimeAmount.seconds(2)
    /// Bytes that are read at once. Where more is published than can be handled it waits in the kernel, and what else the
    /// event loop has to do comes between.
    private static let readSize = 16_384

    init(eventLoop: any EventLoop, transport: RedisTransport, publisher: RedisConnection, logger: Logger) {
        self.eventLoop = eventLoop
        self.transport = transport
        self.publisher = publisher
        self.logger = logger
    }

    // MARK: Subscriptions, on the event loop

    public var isReady: Bool { if case .ready = state { true } else { false } }

    /// Connected, and what is published comes here: this is tried every two seconds.
    public var isHealthy: Bool { isReady && canary.hasComeBy }

    /// Does nothing without a connection: `onReady` is the time for it then.
    public func subscribe(_ channels: some Collection<String>) { ask("SUBSCRIBE", channels) }

    public func unsubscribe(_ channels: some Collection<String>) { ask("UNSUBSCRIBE", channels) }

    /// Runs `done` when everything asked for before is in force: from then on messages of the channels come here. Never,
    /// if the connection is lost before.
    public func barrier(_ done: @escaping () -> Void) {
        guard isReady else { return }
        if asked == answered { done() } else { barriers.append((asked, done)) }
    }

    private func ask(_ command: String, _ channels: some Collection<String>) {
        eventLoop.preconditionInEventLoop()
        guard isReady, !channels.isEmpty else { return }
        asked += channels.count
        write(RedisCommand([command] + channels))
    }

    /// Drops the connection as if the network had. For tests.
    public func reset() {
        eventLoop.execute { self.channel?.close(promise: nil) }
    }

    // MARK: Life

    /// - Parameters:
    ///   - onMessage: called on the event loop for every message.
    ///   - onReady: called on the event loop when there is a connection again, without any subscription.
    func start(
        onMessage: @escaping (_ channel: ByteBuffer, _ payload: ByteBuffer) -> Void,
        onReady: @escaping () -> Void
    ) {
        (self.onMessage, self.onReady) = (onMessage, onReady)
        eventLoop.execute {
            self.connect()
            let pause = Self.heartbeatInterval
            self.heartbeat = self.eventLoop.scheduleRepeatedTask(initialDelay: pause, delay: pause) { _ in self.beat() }
        }
    }

    /// Ends the connection for good.
    public func close() async {
        try? await eventLoop.submit {
            let channel = self.channel
            self.state = .closed
            self.heartbeat?.cancel()
            self.barriers.removeAll()
            (self.onMessage, self.onReady) = ({ _, _ in }, {})
            channel?.close(promise: nil)
        }.get()
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
        let options = channel.syncOptions
        try? options?.setOption(.maxMessagesPerRead, value: 1)
        try? options?.setOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: Self.readSize))
        state = .greeting(channel, repliesMissing: transport.greeting.count)
        lastHeard = .now()
        for command in transport.greeting { write(command) }
    }

    private func lost(_ reason: RedisError) {
        if case .closed = state { return }
        if isReady { losses += 1 }
        logger.warning("redis subscriptions lost", metadata: ["reason": "\(reason.message)"])
        state = .disconnected
        outbound.clear()
        barriers.removeAll()
        answered = asked
        eventLoop.scheduleTask(in: transport.configuration.backoff.delay(attempt: attempts)) { self.connect() }
        attempts += 1
    }

    private func beat() {
        let now = NIODeadline.now()
        if lastHeard + .nanoseconds(Self.heartbeatInterval.nanoseconds * 3) < now {
            abandon("no answer to PING")
        } else if canary.isOverdue(at: now) {
            abandon("what is published does not come here")
        } else if isReady {
            write(RedisCommand("PING"))
            publishCanary()
        }
    }

    private func abandon(_ why: String) {
        guard let channel else { return }
        generation += 1
        lost(RedisError(.timeout, outcome: .unknown, why))
        channel.close(promise: nil)
    }

    private func publishCanary() {
        let number = canary.next()
        publisher.send(RedisCommand("PUBLISH", canaryChannel, "\(number)")) { result in
            if case .success = result { self.canary.published(number, at: .now()) }
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
                state = .ready(channel)
                attempts = 0
                canary.connected()
                subscribe([canaryChannel])
                barrier { self.publishCanary() }
                onReady()
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
                if channel.readableBytesView.elementsEqual(canaryChannel.utf8) {
                    canary.heard(Int(String(buffer: payload)) ?? 0)
                } else {
                    canary.heardOther(at: lastHeard)
                    onMessage(channel, payload)
                }
            }
        case UInt8(ascii: "s"), UInt8(ascii: "u"):
            answered += 1
            while let first = barriers.first, first.asked <= answered { barriers.removeFirst().done() }
        default: break  // pong
        }
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
