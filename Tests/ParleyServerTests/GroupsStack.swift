import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import NIOPosix
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// Two gateways' worth of groups on a Redis and a database of one test's own, called without sockets. Suites that use it
/// are serialized: each test keeps two cores busy.
final class GroupsStack: Sendable {
    let redis: PrivateRedis
    /// PostgreSQL's URL.
    let database: String
    let pool: PostgresPool
    let gateways: [GroupsGateway]
    let keys = TokenKeys.ephemeral()

    static func with(
        _ configuration: GroupConfiguration = .init(),
        _ body: (GroupsStack) async throws -> Void
    ) async throws {
        let stack = try await GroupsStack(configuration)
        let outcome: Result<Void, any Error>
        do { outcome = .success(try await body(stack)) } catch { outcome = .failure(error) }
        for gateway in stack.gateways { await gateway.redis.close() }
        await stack.pool.shutdown()
        try outcome.get()
    }

    private init(_ configuration: GroupConfiguration) async throws {
        redis = try await PrivateRedis(arguments: ["--enable-debug-command", "yes"])
        database = try await PrivatePostgres.database()
        pool = PostgresPool(
            configuration: PostgresConfiguration(url: database, connections: 8, acquireTimeout: .seconds(60)),
            logger: Logger(label: "test")
        )
        _ = try await Migrator(pool: pool).migrate(SchemaMigrations.all)
        var gateways: [GroupsGateway] = []
        for _ in 0..<2 { gateways.append(try await GroupsGateway(redis, pool, keys, configuration)) }
        self.gateways = gateways
    }

    /// Somebody who has an account.
    func user(_ name: String = "user") async throws -> Person {
        let id = UserID.random()
        _ = try await pool.query(
            """
            INSERT INTO users (id, username, display_name, display_key, password_hash)
            VALUES (\(id.description), \("\(name).\(id)"), \(name), \(name), '')
            """
        )
        return Person(id: id, token: try AccessTokens(keys: keys).sign(user: id, login: .random()))
    }

    func users(_ count: Int) async throws -> [Person] {
        var people: [Person] = []
        for _ in 0..<count { people.append(try await user()) }
        return people
    }

    /// A group of these, the first its owner.
    func group(_ people: [Person], title: String = "Team") async throws -> ConversationID {
        let answer = try await gateways[0].create(people[0], title, people.dropFirst().map(\.id))
        try #require(answer.status == 201, "\(answer.text)")
        return try #require(ConversationID(try answer.decode(ConversationAnswer.self).id))
    }

    /// Runs a worker's archiver until everything that is committed is in history.
    func archive() async throws {
        let (redis, pool, fanOut) = (gateways[0].redis, pool, gateways[0].groups.fanOut)
        let archiver = Task {
            try await Archiver(
                redis: redis,
                postgres: pool,
                fanOut: fanOut,
                worker: "test",
                interval: .milliseconds(10),
                // What is pending is the tests' own.
                patience: 3_600_000,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            ).run()
        }
        let isDone = try await eventually {
            let positions = try await ArchivePositions(postgres: pool).all()
            for lane in Lane.all {
                let last = try await redis.send("XREVRANGE", Keys.lane(lane), "+", "-", "COUNT", "1")
                guard let id = CommitLog.entries(last).first?.streamID else { continue }
                guard let mid = MessageID(streamID: id, lane: lane), mid.rawValue <= positions[lane.number] else {
                    return false
                }
            }
            return true
        }
        archiver.cancel()
        try await archiver.value
        #expect(isDone, "not archived")
        let letters: [Int64] = try await pool.query("SELECT count(*) FROM dead_letters").decode(Int64.self)
        #expect(letters == [0])
    }

    func pendingChanges() async throws -> Int64 {
        let counts: [Int64] = try await pool.query("SELECT count(*) FROM conversation_changes").decode(Int64.self)
        return try #require(counts.first)
    }
}

struct Person: Sendable {
    let id: UserID
    let token: String
}

/// What one gateway process has.
struct GroupsGateway: Sendable {
    let redis: RedisClient
    let epochs: EpochKeeper
    let conversations: ConversationStore
    let groups: GroupOutbox
    let history: History
    private let api: TestAPI

    init(_ server: PrivateRedis, _ pool: PostgresPool, _ keys: TokenKeys, _ configuration: GroupConfiguration)
        async throws
    {
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let positions = ArchivePositions(postgres: pool)
        let epochs = EpochKeeper(archive: positions, logger: logger)
        // With a command's usual time: tests here lose connections, and a check of the epoch that has lost its own one
        // holds up the preparation of the next until it is given up.
        redis = try RedisClient(
            configuration: RedisConfiguration(url: server.url),
            eventLoops: [MultiThreadedEventLoopGroup.singleton.next()],
            logger: logger,
            prepare: { try await epochs.prepare($0) }
        )
        try await redis.start(within: .seconds(30))
        self.epochs = epochs
        history = History(postgres: pool, commitLog: CommitLog(redis: redis), positions: positions)
        let commit = CommitConfiguration()
        groups = GroupOutbox(
            store: GroupStore(postgres: pool),
            redis: redis,
            history: history,
            epochs: epochs,
            commit: commit,
            fanOut: FanOut(redis: redis, epochs: epochs, queueLimits: commit.queueLimits, logger: logger)
        )
        conversations = ConversationStore(
            postgres: pool,
            redis: redis,
            history: history,
            epochs: epochs,
            groups: groups,
            groupHistory: configuration.history
        )
        let router = Router(context: ParleyRequestContext.self)
        router.add(middleware: ProblemMiddleware())
        let authenticator = Authenticator(tokens: AccessTokens(keys: keys), revocations: nil)
        let list = ConversationList(conversations: conversations)
        ConversationRoutes(conversations: conversations, list: list, history: history, authenticator: authenticator)
            .add(to: router)
        GroupRoutes(
            outbox: groups,
            list: list,
            memberLimit: configuration.memberLimit,
            authenticator: authenticator
        ).add(to: router)
        MuteRoutes(conversations: conversations, queueCap: commit.queueCap, authenticator: authenticator)
            .add(to: router)
        api = TestAPI(router: router)
    }

    // MARK: HTTP

    func call(
        _ method: HTTPRequest.Method,
        _ path: String,
        as person: Person,
        _ body: String = "",
        key: String? = nil
    ) async throws -> TestAPI.Answer {
        var headers: HTTPFields = [.authorization: "Bearer \(person.token)"]
        if !body.isEmpty { headers[.contentLength] = String(body.utf8.count) }
        if let key { headers[HTTPField.Name("Idempotency-Key")!] = key }
        return try await api.call(method, path, headers: headers, bytes: Array(body.utf8))
    }

    func create(_ owner: Person, _ title: String, _ members: [UserID], key: String? = nil) async throws
        -> TestAPI.Answer
    {
        let list = members.map { "\"\($0)\"" }.joined(separator: ",")
        return try await call(
            .post,
            "/v1/conversations",
            as: owner,
            #"{"title":"\#(title)","members":[\#(list)]}"#,
            key: key ?? ClientMessageID.random(unixMilliseconds: 0).description
        )
    }

    func put(_ user: UserID, in group: ConversationID, as person: Person, role: String? = nil) async throws
        -> TestAPI.Answer
    {
        let body = role.map { #"{"role":"\#($0)"}"# } ?? ""
        return try await call(.put, "/v1/conversations/\(group)/members/\(user)", as: person, body)
    }

    func remove(_ user: UserID, from group: ConversationID, as person: Person) async throws -> TestAPI.Answer {
        try await call(.delete, "/v1/conversations/\(group)/members/\(user)", as: person)
    }

    func rename(_ group: ConversationID, _ title: String, as person: Person) async throws -> TestAPI.Answer {
        try await call(.patch, "/v1/conversations/\(group)", as: person, #"{"title":"\#(title)"}"#)
    }

    func get(_ group: ConversationID, as person: Person) async throws -> TestAPI.Answer {
        try await call(.get, "/v1/conversations/\(group)", as: person)
    }

    /// Oldest first.
    func history(_ group: ConversationID, as person: Person) async throws -> [EntryAnswer] {
        let answer = try await call(.get, "/v1/conversations/\(group)/messages?limit=200", as: person)
        try #require(answer.status == 200, "\(answer.text)")
        return try answer.decode(HistoryAnswer.self).messages.reversed()
    }

    /// A page of the list.
    func list(as person: Person, limit: Int = 50, before cursor: String? = nil) async throws -> ListAnswer {
        let path = "/v1/conversations?limit=\(limit)" + (cursor.map { "&cursor=\($0)" } ?? "")
        let answer = try await call(.get, path, as: person)
        try #require(answer.status == 200, "\(answer.text)")
        return try answer.decode(ListAnswer.self)
    }

    // MARK: Redis

    /// A send as a session makes it, with the membership that the session believes in.
    func send(_ body: String, from sender: UserID, to group: ConversationID, _ roster: Roster?) async throws
        -> SendAnswer
    {
        var request = SendRequest(
            conversation: group,
            sender: sender,
            cid: .random(unixMilliseconds: WallClock.milliseconds()),
            content: MessageContent(body: body)
        )
        while true {
            let commit = CommitConfiguration()
            let command =
                group.members.map { commit.command(for: request, recipients: [$0, $1], epoch: epochs.epoch) }
                ?? commit.command(for: request, roster: roster, epoch: epochs.epoch)
            let reply = try await redis.send(command)
            let answer = try #require(SendAnswer(reply), "\(reply)")
            guard case .lookup(let now) = answer, request.lookedUpAt == nil else { return answer }
            request.lookedUpAt = now
        }
    }

    /// Sends with the membership in force.
    @discardableResult
    func commit(_ body: String, from sender: UserID, to group: ConversationID) async throws -> SendResult {
        let answer: SendAnswer
        if group.isDirect {
            _ = try await conversations.prepare(group, for: sender)
            answer = try await send(body, from: sender, to: group, nil)
        } else {
            answer = try await send(body, from: sender, to: group, groups.settle(group))
        }
        if case .done(_, let pending) = answer { await groups.fanOut.finish(group, pending) }
        return try #require(answer.result, "\(answer)")
    }

    func queue(_ user: UserID) async throws -> [Event] {
        let reply = try await redis.send("XRANGE", Keys.queue(user), "-", "+")
        let entries = (reply.array ?? []).compactMap { $0.array }
        return try entries.enumerated().map { index, parts in
            #expect(parts[0].string == "0-\(index + 1)", "q is contiguous")
            return try Event.decode(try #require(parts[1].array?[1].bytes))
        }
    }

    /// What a user's queue tells of a group, as `m <body>`, `+ <user> <role>`, `- <user>` and `= <title>`.
    func told(_ user: UserID, _ group: ConversationID) async throws -> [String] {
        try await queue(user).filter { $0.conv == group }.map(\.told)
    }
}

extension Event {
    var told: String {
        switch type {
        case .message: "m \(body ?? "")"
        case .memberAdded: "+ \(user?.description ?? "") \(role ?? "")"
        case .memberRemoved: "- \(user?.description ?? "")"
        case .conversation: "= \(title ?? "")"
        default: type.rawValue
        }
    }
}

struct ListAnswer: Decodable {
    let conversations: [ConversationAnswer]
    let next: String?
}

struct ConversationAnswer: Decodable {
    struct Position: Decodable {
        let user: UserID
        let read: Int64
        let delivered: Int64
        let joined: Int64?
    }

    let id: String
    let kind: String
    let title: String?
    let members: [UserID]
    let owner: UserID?
    let admins: [UserID]?
    let version: Int64?
    let unread: Int64
    let readSeq: Int64
    let positions: [Position]
    let muted: Bool
    let mutedUntil: Int64?
    let last: EntryAnswer?

    enum CodingKeys: String, CodingKey {
        case id, kind, title, members, owner, admins, version, unread, positions, muted, last
        case readSeq = "read_seq"
        case mutedUntil = "muted_until"
    }
}

struct HistoryAnswer: Decodable {
    let messages: [EntryAnswer]
    let more: Bool
}

struct EntryAnswer: Decodable {
    private let id: String
    let seq: Int64
    let from: UserID
    let ts: Int64
    let type: String?
    let body: String?
    let user: UserID?
    let role: String?
    let title: String?
    let version: Int64?
    let deleted: Bool?

    enum CodingKeys: String, CodingKey {
        case id = "mid"
        case seq, from, ts, type, body, user, role, title, version, deleted
    }

    var mid: MessageID? { MessageID(id) }

    var told: String {
        switch type {
        case nil: "m \(body ?? "")"
        case "member_added": "+ \(user?.description ?? "") \(role ?? "")"
        case "member_removed": "- \(user?.description ?? "")"
        case "conversation": "= \(title ?? "")"
        default: type ?? ""
        }
    }
}
