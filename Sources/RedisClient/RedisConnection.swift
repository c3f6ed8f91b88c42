import Logging
public import NIOCore

/// A pipelined connection that lives on one event loop and reconnects by itself.
///
/// Commands are written in the order of `send` and answered in that order. They wait while there is no connection,
/// at most `commandTimeout` in all. Everything asked for within one turn of the event loop leaves in one write.
///
/// All state is touched on `eventLoop` only, which is what makes the class safe to pass around.
public final class RedisConnection: @unchecked Sendable {
    public typealias Completion = (Result<RESPValue, RedisError>) -> Void

    /// Runs on each new connection before it serves: load functions, look at the server. A throw closes it, and the
    /// next attempt comes after a backoff.
    public typealias Preparation = @Sendable (RedisHandshake) async throws -> Void

    private enum State {
        case disconnected(attempts: Int)
        case handshaking(any Channel, attempts: Int)
        case ready(any Channel)
        case closed
    }

    public let eventLoop: any EventLoop
    private let transport: RedisTransport
    private let prepare: Preparation
    private let logger: Logger

    private var state = State.disconnected(attempts: 0)
    /// Counts the channels opened so far: what an abandoned one still has to say is for nobody.
    private var generation = 0
    private var queue = CommandQueue()
    private var handshakeReplies = CircularBuffer<EventLoopPromise<RESPValue>>()
    private var outbound = ByteBuffer()
    private var isFlushScheduled = false
    private var sweep: RepeatedTask?
    private var readyWaiters: [EventLoopPromise<Void>] = []
    private var lastFailure: RedisError?
    /// When the replies came that are being handed over.
    private var burst: NIODeadline?

    /// Told of every reply to a command: the command's series, and how long after it was asked for the reply came.
    /// Touched on the event loop only, like the counts below.
    public var onReply: ((_ series: UInt8, _ time: TimeAmount) -> Void)?
    /// How often it was there, the first time included.
    public private(set) var connects = 0
    /// Commands that ended without a reply: no connection or no answer in time, or lost on the way.
    public private(set) var unanswered = 0
    /// Commands asked for and not answered yet.
    public var outstanding: Int { queue.count }

    init(eventLoop: any EventLoop, transport: RedisTransport, logger: Logger, prepare: @escaping Preparation) {
        self.eventLoop = eventLoop
        self.transport = transport
        self.logger = logger
        self.prepare = prepare
    }

    // MARK: Commands

    /// Sends a command; on the connection's event loop only.
    ///
    /// - Parameters:
    ///   - repeatable: running it twice is harmless; see `CommandQueue`.
    ///   - completion: called once, on the event loop. A server's error is a failure with `outcome == .failed`.
    public func send(_ command: RedisCommand, repeatable: Bool = false, completion: @escaping Completion) {
        eventLoop.preconditionInEventLoop()
        if case .closed = state {
            return completion(.failure(RedisError(.closed, outcome: .failed, "client closed")))
        }
        guard queue.count < transport.configuration.maximumQueuedCommands else {
            return completion(.failure(RedisError(.queueFull, outcome: .failed, "too many commands wait")))
        }
        let deadline = NIODeadline.now() + transport.configuration.commandTimeout
        var isConnected = false
        if case .ready = state { isConnected = true }
        queue.append(
            .init(command: command, isRepeatable: repeatable, deadline: deadline, completion: completion),
            isConnected: isConnected
        )
        if isConnected { write(command) }
    }

    /// Whether it serves now; on the connection's event loop only.
    public var isReady: Bool {
        if case .ready = state { true } else { false }
    }

    /// For how long the oldest command has been unanswered; on the connection's event loop only.
    public var delay: TimeAmount {
        guard let deadline = queue.firstDeadline else { return .zero }
        return max(.zero, .now() + transport.configuration.commandTimeout - deadline)
    }

    /// Sends a command from anywhere and waits for the reply.
    public func send(_ command: RedisCommand, repeatable: Bool = false) async throws(RedisError) -> RESPValue {
        let result: Result<RESPValue, RedisError> = await withCheckedContinuation { continuation in
            eventLoop.execute { self.send(command, repeatable: repeatable) { continuation.resume(returning: $0) } }
        }
        return try result.get()
    }

    /// Sends a command that does not wait for a connection.
    /// - Returns: nil where there is none.
    func sendIfReady(_ command: RedisCommand) async throws(RedisError) -> RESPValue? {
        let result: Result<RESPValue?, RedisError> = await withCheckedContinuation { continuation in
            eventLoop.execute {
                guard case .ready = self.state else { return continuation.resume(returning: .success(nil)) }
                self.send(command) { continuation.resume(returning: $0.map(Optional.some)) }
            }
        }
        return try result.get()
    }

    /// Succeeds at the first complete handshake; fails with the latest reason when that takes longer than `limit`.
    public func waitUntilReady(within limit: TimeAmount) async throws(RedisError) {
        let promise = eventLoop.makePromise(of: Void.self)
        eventLoop.execute {
            if case .ready = self.state { return promise.succeed() }
            self.readyWaiters.append(promise)
            self.eventLoop.scheduleTask(in: limit) {
                let endpoint = self.transport.configuration.endpoint
                let why = self.lastFailure?.message ?? "no answer"
                promise.fail(RedisError(.notConnected, outcome: .failed, "\(endpoint): \(why)"))
            }
        }
        do {
            try await promise.futureResult.get()
        } catch {
            throw error as? RedisError ?? RedisError(.notConnected, outcome: .failed, "\(error)")
        }
    }

    /// Drops the connection as if the network had; it comes back by itself. For tests and for commands whose answer
    /// shows that the server is not what it was.
    public func reset() {
        eventLoop.execute { self.channel?.close(promise: nil) }
    }

    // MARK: Life

    func start() {
        eventLoop.execute {
            self.sweep = self.eventLoop.scheduleRepeatedTask(
                initialDelay: .milliseconds(250),
                delay: .milliseconds(250)
            ) { _ in
                self.sweepExpired()
            }
            self.connect(attempts: 0)
        }
    }

    func close() async {
        let done = eventLoop.makePromise(of: Void.self)
        eventLoop.execute {
            let channel = self.channel
            self.state = .closed
            self.sweep?.cancel()
            for verdict in self.queue.close() { verdict.deliver() }
            self.failHandshake(RedisError(.closed, outcome: .failed, "client closed"))
            for waiter in self.readyWaiters { waiter.fail(RedisError(.closed, outcome: .failed, "client closed")) }
            self.readyWaiters.removeAll()
            if let channel { channel.close(mode: .all, promise: nil) }
            done.succeed()
        }
        try? await done.futureResult.get()
    }

    private var channel: (any Channel)? {
        switch state {
        case .ready(let channel), .handshaking(let channel, _): channel
        case .disconnected, .closed: nil
        }
    }

    private func connect(attempts: Int) {
        guard case .disconnected = state else { return }
        generation += 1
        let generation = self.generation
        let future = transport.connect(on: eventLoop) {
            RedisChannelHandler(
                onReply: { if generation == self.generation { self.received($0) } },
                onBurstEnd: {
                    self.burst = nil
                    self.flush()
                },
                onClose: { if generation == self.generation { self.channelClosed($0) } }
            )
        }
        future.assumeIsolated().whenComplete { result in
            switch result {
            case .success(let channel): self.handshake(on: channel, attempts: attempts)
            case .failure(let error):
                self.retry(attempts: attempts, RedisError(.notConnected, outcome: .failed, "\(error)"))
            }
        }
    }

    private func handshake(on channel: any Channel, attempts: Int) {
        guard case .disconnected = state else { return channel.close(promise: nil) }
        guard channel.isActive else {
            return retry(attempts: attempts, RedisError(.connectionLost, outcome: .failed, "closed at once"))
        }
        state = .handshaking(channel, attempts: attempts)
        let handshake = RedisHandshake(connection: self)
        let limit = eventLoop.scheduleTask(in: transport.configuration.commandTimeout) { channel.close(promise: nil) }
        let task = Task {
            for command in transport.greeting { _ = try await handshake.send(command) }
            try await prepare(handshake)
        }
        eventLoop.makeFutureWithTask { try await task.value }.assumeIsolated().whenComplete { result in
            limit.cancel()
            guard case .handshaking(let current, _) = self.state, current === channel else { return }
            switch result {
            case .success: self.becomeReady(channel)
            case .failure(let error):
                self.lastFailure = error as? RedisError ?? RedisError(.notConnected, outcome: .failed, "\(error)")
                channel.close(promise: nil)
            }
        }
    }

    private func becomeReady(_ channel: any Channel) {
        state = .ready(channel)
        connects += 1
        for command in queue.connected() { write(command) }
        for waiter in readyWaiters { waiter.succeed() }
        readyWaiters.removeAll()
    }

    private func channelClosed(_ reason: RedisError) {
        failHandshake(reason)
        outbound.clear()
        switch state {
        case .ready:
            logger.warning("redis connection lost", metadata: ["reason": "\(reason.message)"])
            retry(attempts: 0, reason)
        case .handshaking(_, let attempts): retry(attempts: attempts, lastFailure ?? reason)
        case .disconnected, .closed: break
        }
    }

    /// Gives the connection up at once and makes a new one, whose preparation sets right what was found wrong.
    private func abandon(_ reason: RedisError) {
        let channel = self.channel
        generation += 1
        channelClosed(reason)
        channel?.close(promise: nil)
    }

    private func retry(attempts: Int, _ reason: RedisError) {
        guard !isClosed else { return }
        lastFailure = reason
        state = .disconnected(attempts: attempts + 1)
        deliver(queue.connectionLost())
        eventLoop.scheduleTask(in: transport.configuration.backoff.delay(attempt: attempts)) {
            self.connect(attempts: attempts + 1)
        }
    }

    private var isClosed: Bool {
        if case .closed = state { true } else { false }
    }

    // MARK: Bytes

    private func received(_ value: RESPValue) {
        if case .handshaking = state {
            handshakeReplies.popFirst()?.succeed(value)
            return
        }
        guard let entry = queue.replied() else {
            return abandon(RedisError(.protocolViolation, outcome: .unknown, "a reply to nothing"))
        }
        if let onReply {
            let now = burst ?? .now()
            burst = now
            onReply(entry.command.series, now - (entry.deadline - transport.configuration.commandTimeout))
        }
        guard case .error(let error) = value else {
            entry.completion?(.success(value))
            return
        }
        if error.isFunctionMissing || error.isTransient {
            if entry.isRepeatable { queue.putBack(entry) } else { entry.completion?(.failure(.server(error))) }
            abandon(.server(error))
        } else {
            entry.completion?(.failure(.server(error)))
        }
    }

    /// During the handshake, ahead of everything that waits.
    func sendInHandshake(_ command: RedisCommand) -> EventLoopFuture<RESPValue> {
        let promise = eventLoop.makePromise(of: RESPValue.self)
        eventLoop.execute {
            guard case .handshaking = self.state else {
                return promise.fail(RedisError(.connectionLost, outcome: .unknown, "connection lost"))
            }
            self.handshakeReplies.append(promise)
            self.write(command)
        }
        return promise.futureResult
    }

    private func failHandshake(_ error: RedisError) {
        while let promise = handshakeReplies.popFirst() { promise.fail(error) }
    }

    private func write(_ command: RedisCommand) {
        outbound.writeImmutableBuffer(command.bytes)
        guard !isFlushScheduled else { return }
        isFlushScheduled = true
        eventLoop.execute {
            self.isFlushScheduled = false
            self.flush()
        }
    }

    private func flush() {
        guard outbound.readableBytes > 0, let channel else { return }
        channel.writeAndFlush(outbound, promise: nil)
        outbound = channel.allocator.buffer(capacity: 4096)
    }

    private func deliver(_ failures: [CommandQueue.Verdict]) {
        unanswered += failures.count
        for failure in failures { failure.deliver() }
    }

    private func sweepExpired() {
        let now = NIODeadline.now()
        deliver(queue.expire(now: now))
        if queue.isWedged(now: now, patience: transport.configuration.commandTimeout) {
            abandon(RedisError(.timeout, outcome: .unknown, "no answer for too long"))
        }
    }
}

/// A connection that is being prepared.
public struct RedisHandshake: Sendable {
    let connection: RedisConnection

    /// - Throws: `RedisError`, also for an error that the server answered.
    public func send(_ command: RedisCommand) async throws -> RESPValue {
        let value = try await connection.sendInHandshake(command).get()
        if case .error(let error) = value { throw RedisError.server(error) }
        return value
    }
}
