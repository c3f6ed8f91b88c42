import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import NIOEmbedded
import ParleyWire
import PostgresClient
import Synchronization
import TestSupport

@testable import ParleyServer

/// The accounts' routes on a PostgreSQL database of one test's own, called without a socket.
final class AccountsStack: Sendable {
    let databaseURL: String
    let pool: PostgresPool
    let accounts: Accounts
    let deletion: AccountDeletion
    let departures = Departures()
    let revocations = MemoryRevocations()
    let clock = Clock()
    private let api: TestAPI

    /// Runs `body` against a fresh database and releases everything afterwards.
    static func with(
        cost: ScryptCost = .cheap,
        _ body: (AccountsStack) async throws -> Void
    ) async throws {
        let stack = try await AccountsStack(cost: cost)
        let outcome: Result<Void, any Error>
        do { outcome = .success(try await body(stack)) } catch { outcome = .failure(error) }
        await stack.pool.shutdown()
        try await stack.accounts.hasher.shutdown()
        try outcome.get()
    }

    private init(cost: ScryptCost) async throws {
        databaseURL = try await PrivatePostgres.database()
        let configuration = PostgresConfiguration(url: databaseURL, connections: 4, acquireTimeout: .seconds(60))
        pool = PostgresPool(configuration: configuration, logger: Logger(label: "test"))
        _ = try await Migrator(pool: pool).migrate(SchemaMigrations.all)
        let clock = clock
        accounts = Accounts(
            store: AccountStore(pool: pool),
            hasher: PasswordHasher(configuration: .init(cost: cost, threads: 2)),
            tokens: AccessTokens(keys: .ephemeral(), now: { clock.milliseconds }),
            revocations: revocations
        )
        let departures = departures
        deletion = AccountDeletion(
            store: accounts.store,
            revocations: revocations,
            partings: [],
            departures: [{ try await departures.userIsGone($0) }]
        )
        let router = Router(context: ParleyRequestContext.self)
        router.add(middleware: ProblemMiddleware())
        AccountRoutes(accounts: accounts).add(to: router)
        ProfileRoutes(accounts: accounts, mayWriteChanged: { _ in }, presenceChanged: { _ in }).add(to: router)
        DeletionRoute(accounts: accounts, deletion: deletion).add(to: router)
        UserRoutes(accounts: accounts).add(to: router)
        api = TestAPI(router: router)
    }

    func call(
        _ method: HTTPRequest.Method,
        _ path: String,
        token: String? = nil,
        _ body: String = "",
        bytes: [UInt8]? = nil
    ) async throws -> TestAPI.Answer {
        let headers: HTTPFields = token.map { [.authorization: "Bearer \($0)"] } ?? [:]
        return try await api.call(method, path, headers: headers, bytes: bytes ?? Array(body.utf8))
    }

    /// Signs somebody up with the password `password-of-<username>`.
    func signUp(_ username: String, displayName: String? = nil) async throws -> SessionAnswer {
        let name = displayName.map { #","display_name":"\#($0)""# } ?? ""
        let body = #"{"username":"\#(username)","password":"password-of-\#(username)"\#(name)}"#
        return try await call(.post, "/v1/signup", body).decode()
    }

    func logIn(_ username: String, password: String? = nil) async throws -> TestAPI.Answer {
        let password = password ?? "password-of-\(username)"
        return try await call(.post, "/v1/login", #"{"username":"\#(username)","password":"\#(password)"}"#)
    }

    func refresh(_ token: String) async throws -> TestAPI.Answer {
        try await call(.post, "/v1/token", #"{"refresh_token":"\#(token)"}"#)
    }
}

/// A clock that tests set.
final class Clock: Sendable {
    private let offset = Atomic<Int64>(0)

    var milliseconds: Int64 { WallClock.milliseconds() + offset.load(ordering: .relaxed) }

    func advance(seconds: Int64) {
        offset.wrappingAdd(seconds * 1000, ordering: .relaxed)
    }
}

/// Revocations of one process, with a switch for their store being away.
final class MemoryRevocations: LoginRevocations {
    private struct Entry: Hashable {
        let user: UserID
        let login: LoginID
    }
    private struct Away: Error {}

    private let revoked = Mutex<Set<Entry>>([])
    private let isAway = Atomic<Bool>(false)

    func setAway(_ away: Bool) {
        isAway.store(away, ordering: .relaxed)
    }

    func revoke(user: UserID, login: LoginID) async throws {
        guard !isAway.load(ordering: .relaxed) else { throw Away() }
        revoked.withLock { _ = $0.insert(Entry(user: user, login: login)) }
    }

    func isRevoked(user: UserID, login: LoginID) async throws -> Bool {
        guard !isAway.load(ordering: .relaxed) else { throw Away() }
        return revoked.withLock { $0.contains(Entry(user: user, login: login)) }
    }

    var count: Int { revoked.withLock(\.count) }
}

/// What is told of users who are gone, with a switch for its store being away.
final class Departures: Sendable {
    private struct Away: Error {}

    private let told = Mutex<[UserID]>([])
    private let isAway = Atomic<Bool>(false)

    var users: [UserID] { told.withLock(\.self) }

    func setAway(_ away: Bool) {
        isAway.store(away, ordering: .relaxed)
    }

    func userIsGone(_ user: UserID) async throws {
        guard !isAway.load(ordering: .relaxed) else { throw Away() }
        told.withLock { $0.append(user) }
    }
}

/// Calls a router's routes in this process.
struct TestAPI: Sendable {
    private let responder: RouterResponder<ParleyRequestContext>

    init(router: Router<ParleyRequestContext>) {
        responder = router.buildResponder()
    }

    struct Answer: Sendable {
        let status: Int
        let headers: HTTPFields
        let body: [UInt8]

        func decode<T: Decodable>(_ type: T.Type = T.self) throws -> T {
            try JSONDecoder().decode(type, from: Data(body))
        }

        var text: String { String(decoding: body, as: UTF8.self) }

        /// The problem's code, after checking that the rest of the answer is a problem too.
        var problem: ErrorCode? {
            guard headers[.contentType] == "application/problem+json",
                let problem = try? decode(ProblemAnswer.self),
                problem.status == status, problem.code.httpStatus == status,
                !problem.title.isEmpty, !problem.detail.isEmpty, problem.type == "about:blank"
            else { return nil }
            return problem.code
        }
    }

    func call(
        _ method: HTTPRequest.Method,
        _ path: String,
        headers: HTTPFields = [:],
        bytes: [UInt8] = []
    ) async throws -> Answer {
        let head = HTTPRequest(method: method, scheme: "http", authority: "test", path: path, headerFields: headers)
        let source = ApplicationRequestContextSource(
            channel: NIOAsyncTestingChannel(),
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        )
        let request = Request(head: head, body: RequestBody(buffer: ByteBuffer(bytes: bytes)))
        let response = try await responder.respond(to: request, context: ParleyRequestContext(source: source))
        let written = WrittenBody()
        try await response.body.write(Writer(written: written))
        return Answer(status: response.status.code, headers: response.headers, body: written.bytes.withLock { $0 })
    }

    private final class WrittenBody: Sendable {
        let bytes = Mutex<[UInt8]>([])
    }

    private struct Writer: ResponseBodyWriter {
        let written: WrittenBody

        mutating func write(_ buffer: ByteBuffer) async throws {
            written.bytes.withLock { $0 += buffer.readableBytesView }
        }

        consuming func finish(_ trailingHeaders: HTTPFields?) async throws {}
    }
}

struct ProblemAnswer: Decodable {
    let type: String
    let title: String
    let status: Int
    let detail: String
    let code: ErrorCode
    let retry_ms: Int?
}

struct UserAnswer: Decodable, Equatable {
    let id: String
    let username: String
    let display_name: String
}

struct SessionAnswer: Decodable {
    let user: UserAnswer
    let access_token: String
    let refresh_token: String
    let expires_in: Int
}
