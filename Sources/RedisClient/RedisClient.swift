public import Logging
public import NIOCore
import Synchronization

/// The connections of a process to one Redis server: a few pipelined ones on each event loop.
///
/// A caller on an event loop uses that loop's connections and never changes threads; a task uses whichever is next.
public final class RedisClient: Sendable {
    public let configuration: RedisConfiguration
    private let transport: RedisTransport
    public let connections: [RedisConnection]
    private let connectionsByLoop: [ObjectIdentifier: [RedisConnection]]
    private let next = Atomic<Int>(0)
    private let logger: Logger

    /// - Parameter prepare: runs on every new connection before it serves.
    /// - Throws: `RedisError` with code `.configuration`.
    public init(
        configuration: RedisConfiguration,
        eventLoops: [any EventLoop],
        logger: Logger,
        prepare: @escaping RedisConnection.Preparation = { _ in }
    ) throws(RedisError) {
        let transport = try RedisTransport(configuration: configuration)
        var byLoop: [ObjectIdentifier: [RedisConnection]] = [:]
        for eventLoop in eventLoops {
            byLoop[ObjectIdentifier(eventLoop)] = (0..<configuration.connectionsPerLoop).map { _ in
                RedisConnection(eventLoop: eventLoop, transport: transport, logger: logger, prepare: prepare)
            }
        }
        self.configuration = configuration
        self.transport = transport
        self.logger = logger
        connectionsByLoop = byLoop
        connections = eventLoops.flatMap { byLoop[ObjectIdentifier($0)] ?? [] }
    }

    /// Connects all connections, now or when the server is there; commands wait for it as long as they may.
    public func start() { for connection in connections { connection.start() } }

    /// Connects all connections.
    ///
    /// - Parameter limit: how long the first handshake of each may take, retries included.
    /// - Throws: `RedisError` with code `.notConnected` that names the endpoint and the reason.
    public func start(within limit: TimeAmount) async throws(RedisError) {
        start()
        for connection in connections { try await connection.waitUntilReady(within: limit) }
    }

    public func close() async {
        for connection in connections { await connection.close() }
    }

    /// The connections on an event loop that the client was made with.
    public func connections(on eventLoop: any EventLoop) -> [RedisConnection] {
        connectionsByLoop[ObjectIdentifier(eventLoop)] ?? []
    }

    /// Sends on any connection.
    public func send(_ command: RedisCommand, repeatable: Bool = false) async throws(RedisError) -> RESPValue {
        let ticket = next.wrappingAdd(1, ordering: .relaxed).oldValue
        return try await connections[Int(UInt(bitPattern: ticket) % UInt(connections.count))]
            .send(command, repeatable: repeatable)
    }

    /// Sends on a connection that serves now, and waits for none.
    public func sendIfReady(_ command: RedisCommand) async throws(RedisError) -> RESPValue {
        for connection in connections {
            if let reply = try await connection.sendIfReady(command) { return reply }
        }
        throw RedisError(.notConnected, outcome: .failed, "\(configuration.endpoint): no connection serves now")
    }

    public func send(_ arguments: String..., repeatable: Bool = false) async throws(RedisError) -> RESPValue {
        try await send(RedisCommand(arguments), repeatable: repeatable)
    }

    /// Drops every connection as if the network had. For tests.
    public func resetAll() {
        for connection in connections { connection.reset() }
    }

    /// A connection for subscriptions on `eventLoop`; the callbacks run there.
    public func subscriber(
        on eventLoop: any EventLoop,
        onMessage: @escaping (_ channel: ByteBuffer, _ payload: ByteBuffer) -> Void,
        onResubscribed: @escaping () -> Void
    ) -> RedisSubscriber {
        let subscriber = RedisSubscriber(makeFeed(on: eventLoop), onResubscribed: onResubscribed)
        subscriber.start(onMessage: onMessage)
        return subscriber
    }

    /// A connection for many subscriptions on `eventLoop`, of which the owner keeps the record; the callbacks run there.
    public func feed(
        on eventLoop: any EventLoop,
        onMessage: @escaping (_ channel: ByteBuffer, _ payload: ByteBuffer) -> Void,
        onReady: @escaping () -> Void
    ) -> RedisFeed {
        let feed = makeFeed(on: eventLoop)
        feed.start(onMessage: onMessage, onReady: onReady)
        return feed
    }

    private func makeFeed(on eventLoop: any EventLoop) -> RedisFeed {
        guard let publisher = connections(on: eventLoop).first else {
            preconditionFailure("an event loop that the client was not made with")
        }
        return RedisFeed(eventLoop: eventLoop, transport: transport, publisher: publisher, logger: logger)
    }
}
