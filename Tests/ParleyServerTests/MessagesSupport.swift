import Logging
import NIOCore
import NIOPosix
import ParleyCore
import ParleyWire
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// The message path's functions on a Redis of one test's own, called as the gateway calls them.
struct MessagesStack: Sendable {
    let redis: PrivateRedis
    let client: RedisClient
    /// One of the client's connections, for transactions.
    let connection: RedisConnection
    let epoch = "e1"

    /// Runs `body` on a fresh Redis that has an epoch.
    static func with(_ body: (MessagesStack) async throws -> Void) async throws {
        let redis = try await PrivateRedis(arguments: ["--enable-debug-command", "yes"])
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let client = try RedisClient(
            configuration: .patient(redis),
            eventLoops: [loop],
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            prepare: {
                try await RedisFunctions.library.ensure(on: $0)
                await Dashboard.offer(on: $0, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            }
        )
        let outcome: Result<Void, any Error>
        do {
            try await client.start(within: .seconds(30))
            let connection = try #require(client.connections(on: loop).first)
            let stack = MessagesStack(redis: redis, client: client, connection: connection)
            _ = try await stack.call("new_epoch", [Keys.epoch], ["", stack.epoch, "0"])
            outcome = .success(try await body(stack))
        } catch {
            outcome = .failure(error)
        }
        await client.close()
        try outcome.get()
    }

    func run(_ arguments: String...) async throws -> RESPValue { try await client.send(RedisCommand(arguments)) }

    func call(_ function: String, _ keys: [String], _ arguments: [String] = [], readOnly: Bool = false) async throws
        -> RESPValue
    {
        try await client.send(RedisFunctions.call(function, keys: keys, arguments, readOnly: readOnly))
    }

    /// Redis's clock, in milliseconds since 1970.
    var now: Int64 {
        get async throws {
            let time = try await run("TIME").array ?? []
            return try #require(time.first?.integer) * 1000 + (try #require(time.last?.integer)) / 1000
        }
    }

    /// Everything that Redis holds, in one number.
    var digest: String { get async throws { try await run("DEBUG", "DIGEST").string ?? "" } }

    @discardableResult
    func seed(_ conversation: ConversationID, epoch: String? = nil, version: Int = 1, seq: Int = 0, jump: Int = 0)
        async throws -> String?
    {
        try await call(
            "seed",
            [Keys.conversation(conversation), Keys.epoch],
            [epoch ?? self.epoch, "\(version)", "\(seq)", "\(jump)"]
        ).string
    }

    /// Sends, and returns the answer.
    func send(
        _ talk: Talk,
        from sender: UserID? = nil,
        body: String = "hello",
        cid: ClientMessageID? = nil,
        lookedUpAt: Int64? = nil,
        version: Int64 = 1,
        epoch: String? = nil,
        configuration: CommitConfiguration = CommitConfiguration()
    ) async throws -> SendAnswer {
        let chosen: ClientMessageID
        if let cid { chosen = cid } else { chosen = .random(unixMilliseconds: try await now) }
        var request = SendRequest(
            conversation: talk.conversation,
            sender: sender ?? talk.ann,
            cid: chosen,
            content: MessageContent(body: body)
        )
        request.lookedUpAt = lookedUpAt
        request.membershipVersion = version
        let command = configuration.command(
            for: request,
            recipients: [talk.ann, talk.bob],
            epoch: epoch ?? self.epoch
        )
        let reply = try await client.send(command)
        return try #require(SendAnswer(reply), "\(reply)")
    }

    /// Sends, and returns the commit.
    @discardableResult
    func commit(_ talk: Talk, from sender: UserID? = nil, body: String = "hello") async throws -> SendResult {
        try #require(try await send(talk, from: sender, body: body).result)
    }

    /// A user's sync queue.
    func queue(_ user: UserID) async throws -> [(q: Int64, event: Event)] {
        let reply = try await run("XRANGE", Keys.queue(user), "-", "+")
        return try #require(QueuePage(reply)).entries.map { ($0.q, try Event.decode($0.event)) }
    }

    /// The texts that a user's queue holds, in order.
    func bodies(_ user: UserID) async throws -> [String] {
        try await queue(user).compactMap(\.event.body)
    }

    /// Ids of a lane's entries.
    func log(_ lane: Lane) async throws -> [String] {
        try await run("XRANGE", Keys.lane(lane), "-", "+").array?.compactMap { $0.array?.first?.string } ?? []
    }

    func marks(_ lane: Lane) async throws -> [String] {
        try await call("pending", [Keys.pending(lane)], ["1000"], readOnly: true).array?.compactMap(\.string) ?? []
    }
}

extension RedisConfiguration {
    /// For a server of one test's own: nothing is given up because the machine is late.
    static func patient(_ redis: PrivateRedis) throws(RedisError) -> RedisConfiguration {
        var configuration = try RedisConfiguration(url: redis.url)
        configuration.commandTimeout = .seconds(60)
        return configuration
    }
}

/// Two users and their conversation.
struct Talk: Sendable {
    let ann = UserID.random()
    let bob = UserID.random()
    var conversation: ConversationID { .direct(ann, bob) }
    var lane: Lane { Lane(of: conversation) }
}

extension SendAnswer {
    var result: SendResult? { if case .done(let result, _) = self { result } else { nil } }
    var pending: [UserID]? { if case .done(_, let pending) = self { pending.users } else { nil } }
}
