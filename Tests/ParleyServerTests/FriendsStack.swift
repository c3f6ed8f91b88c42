import HTTPTypes
import Hummingbird
import Logging
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// Two gateways on a Redis and a database of one test's own, with the routes of friends, blocks, groups and messages,
/// called without sockets. Suites that use it are serialized: each test keeps two cores busy.
struct FriendsStack: Sendable {
    let groups: GroupsStack
    let gateways: [FriendsGateway]

    static func with(
        _ limits: FriendConfiguration = .init(),
        _ body: (FriendsStack) async throws -> Void
    ) async throws {
        try await GroupsStack.with { groups in
            let gateways = groups.gateways.map { FriendsGateway($0, groups.pool, groups.keys, limits) }
            try await body(FriendsStack(groups: groups, gateways: gateways))
        }
    }

    var pool: PostgresPool { groups.pool }
    var store: RelationStore { RelationStore(postgres: pool) }
    var sweeper: RelationSweeper {
        RelationSweeper(outbox: gateways[1].relations.outbox, logger: Logger(label: "test"), age: 0)
    }

    func people(_ count: Int) async throws -> [Person] { try await groups.users(count) }

    func befriend(_ one: Person, _ other: Person) async throws {
        try await #require(gateways[0].ask(other, as: one).status < 300)
        try await #require(gateways[1].ask(one, as: other).status == 200)
    }

    /// Rows that Redis may lack.
    func outstanding() async throws -> Int64 {
        let rows = try await pool.query(
            "SELECT (SELECT count(*) FROM right_changes) + (SELECT count(*) FROM relation_events)"
        )
        return try rows.decode(Int64.self)[0]
    }

    /// Runs a worker's sweep of all that is left.
    func sweep() async throws {
        let isClean = try await eventually {
            try await sweeper.sweep()
            return try await outstanding() == 0
        }
        #expect(isClean)
    }

    /// What a user's queue tells of friends: `<type> <from> <user>`.
    func told(_ person: Person) async throws -> [String] {
        let events = try await groups.gateways[0].queue(person.id)
        return events.filter { $0.conv == nil && $0.ts != nil }
            .map { "\($0.type.rawValue) \($0.from?.description ?? "") \($0.user?.description ?? "")" }
    }

    func bodies(_ person: Person) async throws -> [String] {
        try await groups.gateways[0].queue(person.id).compactMap(\.body)
    }
}

struct FriendsGateway: Sendable {
    let services: GatewayServices
    let relations: RelationActions
    private let api: TestAPI

    init(_ gateway: GroupsGateway, _ pool: PostgresPool, _ keys: TokenKeys, _ limits: FriendConfiguration) {
        let redis = gateway.redis
        services = GatewayServices(
            configuration: GatewayConfiguration(),
            commit: CommitConfiguration(),
            redis: redis,
            epochs: gateway.epochs,
            conversations: gateway.conversations,
            history: gateway.history,
            fanOut: gateway.groups.fanOut,
            tokens: AccessTokens(keys: keys),
            acknowledger: Acknowledger(redis: redis, positions: ArchivePositions(postgres: pool)),
            origins: OriginList([String]()),
            registry: GatewayRegistry(redis: redis),
            presence: Presence(
                terms: GatewayConfiguration().presenceTerms,
                redis: redis,
                volatile: redis,
                postgres: pool,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            ),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        let authenticator = Authenticator(tokens: services.tokens, revocations: nil)
        relations = RelationActions(
            outbox: RelationOutbox(
                store: RelationStore(postgres: pool),
                redis: redis,
                epochs: gateway.epochs,
                queueCap: CommitConfiguration().queueCap
            ),
            limits: limits,
            authenticator: authenticator
        )
        let router = Router(context: ParleyRequestContext.self)
        router.add(middleware: ProblemMiddleware())
        let list = ConversationList(conversations: gateway.conversations)
        FriendRoutes(relations: relations).add(to: router)
        BlockRoutes(relations: relations).add(to: router)
        MessageRoutes(services: services, authenticator: authenticator).add(to: router)
        ConversationRoutes(
            conversations: gateway.conversations,
            list: list,
            history: gateway.history,
            authenticator: authenticator
        ).add(to: router)
        GroupRoutes(outbox: gateway.groups, list: list, memberLimit: 100, authenticator: authenticator)
            .add(to: router)
        api = TestAPI(router: router)
    }

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

    // MARK: Friends

    func ask(_ other: Person, as me: Person) async throws -> TestAPI.Answer {
        try await call(.post, "/v1/friends/requests", as: me, #"{"user":"\#(other.id)"}"#)
    }

    func accept(_ other: Person, as me: Person) async throws -> TestAPI.Answer {
        try await call(.post, "/v1/friends/requests/\(other.id)/accept", as: me)
    }

    func endRequest(_ other: Person, as me: Person) async throws -> TestAPI.Answer {
        try await call(.delete, "/v1/friends/requests/\(other.id)", as: me)
    }

    func unfriend(_ other: Person, as me: Person) async throws -> TestAPI.Answer {
        try await call(.delete, "/v1/friends/\(other.id)", as: me)
    }

    func block(_ other: Person, as me: Person) async throws -> TestAPI.Answer {
        try await call(.put, "/v1/blocks/\(other.id)", as: me)
    }

    func unblock(_ other: Person, as me: Person) async throws -> TestAPI.Answer {
        try await call(.delete, "/v1/blocks/\(other.id)", as: me)
    }

    func lists(_ person: Person) async throws -> ListsAnswer {
        try await call(.get, "/v1/friends", as: person).decode()
    }

    /// As PATCH /v1/me does.
    func set(_ mayWrite: MayWrite, of person: Person) async throws {
        var change = ProfileChange()
        change.mayWrite = mayWrite
        _ = try await AccountStore(pool: relations.outbox.store.postgres).change(change, of: person.id)
        try await relations.mayWriteChanged(of: person.id)
    }

    // MARK: Messages

    /// Sends over HTTP, which goes the way of a socket's send.
    func send(_ body: String, from sender: Person, to other: Person, cid: ClientMessageID? = nil) async throws
        -> TestAPI.Answer
    {
        let cid = cid ?? .random(unixMilliseconds: WallClock.milliseconds())
        let path = "/v1/conversations/\(ConversationID.direct(sender.id, other.id))/messages"
        return try await call(.post, path, as: sender, #"{"body":"\#(body)"}"#, key: cid.description)
    }

    func field(_ name: String, of conversation: ConversationID) async throws -> String? {
        try await services.redis.send("HGET", Keys.conversation(conversation), name).string
    }
}

struct ListsAnswer: Decodable {
    let friends: [UserAnswer]
    let incoming: [UserAnswer]
    let outgoing: [UserAnswer]

    /// The ids of friends, those who ask, and those who are asked.
    var ids: [[String]] { [friends, incoming, outgoing].map { $0.map(\.id) } }
}
