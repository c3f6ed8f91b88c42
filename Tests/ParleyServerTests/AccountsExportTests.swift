import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import NIOEmbedded
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient
import Synchronization
import Testing

@testable import ParleyServer

/// The export of an account, from its records in both stores.
@Suite struct AccountsExportTests {
    /// An account on a stack with history, and the route.
    private struct Exporter {
        let stack: HistoryStack
        let accounts: Accounts
        let user: UserID
        let token: String
        let router: Router<ParleyRequestContext>

        static func with(
            floor: MessageID? = nil,
            gone: ConversationID? = nil,
            _ body: (Exporter) async throws -> Void
        ) async throws {
            try await HistoryStack.with { stack in
                let hasher = PasswordHasher(configuration: .init(cost: .cheap, threads: 1))
                let accounts = Accounts(
                    store: AccountStore(pool: stack.postgres),
                    hasher: hasher,
                    tokens: AccessTokens(keys: .ephemeral()),
                    revocations: MemoryRevocations()
                )
                let export = AccountExport(store: accounts.store, history: stack.history, redis: stack.client) {
                    conversation,
                    _ in
                    guard conversation != gone else { return nil }
                    var json = ByteBuffer()
                    json.beginJSONObject()
                    json.writeJSONField("id", conversation)
                    json.endJSONObject()
                    return .init(json: json, firstVisible: floor)
                }
                let router = Router(context: ParleyRequestContext.self)
                router.add(middleware: ProblemMiddleware())
                AccountRoutes(accounts: accounts).add(to: router)
                ExportRoute(accounts: accounts, export: export).add(to: router)
                let signup = #"{"username":"ada","password":"a long password","display_name":"Ada"}"#
                let session: SessionAnswer = try await TestAPI(router: router)
                    .call(.post, "/v1/signup", bytes: Array(signup.utf8)).decode()
                let exporter = Exporter(
                    stack: stack,
                    accounts: accounts,
                    user: try #require(UserID(session.user.id)),
                    token: session.access_token,
                    router: router
                )
                try await body(exporter)
                try await hasher.shutdown()
            }
        }

        var headers: HTTPFields { [.authorization: "Bearer \(token)"] }

        func call() async throws -> TestAPI.Answer {
            try await TestAPI(router: router).call(.get, "/v1/me/export", headers: headers)
        }

        /// The lines of an export, each decoded.
        func lines() async throws -> [[String: Any]] {
            let answer = try await call()
            #expect(answer.status == 200)
            #expect(answer.headers[.contentType] == "application/x-ndjson")
            #expect(answer.body.last == UInt8(ascii: "\n"))
            return try answer.text.split(separator: "\n").map { line in
                let object = try JSONSerialization.jsonObject(with: Data(line.utf8))
                return try #require(object as? [String: Any])
            }
        }

        func join(_ conversation: ConversationID) async throws {
            _ = try await stack.postgres.query(
                """
                INSERT INTO conversation_members (conversation_id, user_id, joined_at)
                VALUES (\(conversation.description), \(user.description), 0)
                """
            )
        }

        /// A message as it stands in the commit log when nobody has archived it.
        func commit(_ message: String, seq: Int64, in conversation: ConversationID) async throws {
            let lane = Lane(of: conversation)
            let entry = #"{"seq":\#(seq),"type":"message","conv":"\#(conversation)","from":"\#(user)",\#(message)}"#
            _ = try await stack.client.send("XADD", Keys.lane(lane), "*", "e", entry)
        }
    }

    private func records(_ lines: [[String: Any]]) -> [String] { lines.compactMap { $0["record"] as? String } }

    @Test func `an empty account is complete too`() async throws {
        try await Exporter.with { exporter in
            let (client, key) = (exporter.stack.client, Keys.user(exporter.user))
            _ = try await client.send("HSET", key, "device:phone", "e1 5 1234 abc -")
            _ = try await client.send("HSET", key, "delivered:g:x", "1-0001")
            let lines = try await exporter.lines()
            #expect(records(lines) == ["export", "profile", "sign_in", "device", "end"])
            #expect(lines[0]["user"] as? String == exporter.user.description)
            #expect(lines[1]["username"] as? String == "ada")
            #expect(lines[1]["may_write"] as? String == "everyone")
            #expect(lines[2]["current"] as? Bool == true)
            #expect(lines[3]["device"] as? String == "phone")
            #expect(lines[3]["last_seen_at"] as? Int == 1234)
            #expect(lines[4]["complete"] as? Bool == true)
            #expect(lines[4]["messages"] as? Int == 0)
        }
    }

    @Test func `every message of every conversation once, archived or not`() async throws {
        try await Exporter.with { exporter in
            let (stack, user) = (exporter.stack, exporter.user)
            let talks = (0..<230).map { _ in ConversationID.direct(user, .random()) }.sorted()
            for talk in talks { try await exporter.join(talk) }
            let now = WallClock.milliseconds()
            try await stack.archive(100, in: talks[0], from: now - 40 * HistoryStack.day, step: 1000)
            try await stack.archive(1234, in: talks[1], from: now - 90 * HistoryStack.day, step: HistoryStack.day / 20)
            try await stack.archive(1, in: talks[229], from: now - 1000, step: 1)
            try await stack.keeper(.week).ensure()
            for number in 1...7 {
                try await exporter.commit(#""body":"new \#(number)""#, seq: 1234 + Int64(number), in: talks[1])
                try await exporter.commit(#""body":"first \#(number)""#, seq: Int64(number), in: talks[7])
            }
            let lines = try await exporter.lines()
            let conversations = lines.filter { $0["record"] as? String == "conversation" }.map { $0["id"] as? String }
            #expect(conversations == talks.map(\.description))
            let messages = lines.filter { $0["record"] as? String == "message" }
            for (talk, count) in [(talks[0], 100), (talks[1], 1241), (talks[7], 7), (talks[229], 1), (talks[100], 0)] {
                let own = messages.filter { $0["conv"] as? String == talk.description }
                #expect(own.compactMap { $0["seq"] as? Int } == Array(1..<(count + 1)))
            }
            #expect(lines.last?["complete"] as? Bool == true)
            #expect(lines.last?["messages"] as? Int == 1349)
            #expect(lines.last?["conversations"] as? Int == 230)
            // A conversation's messages stand behind it.
            let first = try #require(records(lines).firstIndex(of: "message"))
            #expect(lines[first - 1]["id"] as? String == talks[0].description)
        }
    }

    @Test func `what came before joining, and what was left, is not in it`() async throws {
        let left = try #require(ConversationID("g:left"))
        let group = try #require(ConversationID("g:team"))
        let start = WallClock.milliseconds() - HistoryStack.day
        let floor = try #require(
            MessageID(unixMilliseconds: start + 500_000, lane: Lane(of: group).number, sequence: 0)
        )
        try await Exporter.with(floor: floor, gone: left) { exporter in
            for conversation in [group, left] {
                try await exporter.join(conversation)
                try await exporter.stack.archive(800, in: conversation, from: start, step: 1000)
            }
            let messages = try await exporter.lines().filter { $0["record"] as? String == "message" }
            #expect(messages.compactMap { $0["seq"] as? Int } == Array(501...800))
        }
    }

    @Test func `whatever a message holds stays on one line`() async throws {
        try await Exporter.with { exporter in
            let talk = ConversationID.direct(exporter.user, .random())
            try await exporter.join(talk)
            try await exporter.commit(
                #""body":"two\nlines \u2028 \"and\" \r more","data":{"url" :\#n\#r "x\\ny"}"#,
                seq: 1,
                in: talk
            )
            let message = try #require(try await exporter.lines().first { $0["record"] as? String == "message" })
            #expect(message["body"] as? String == "two\nlines \u{2028} \"and\" \r more")
            #expect((message["data"] as? [String: Any])?["url"] as? String == #"x\ny"#)
        }
    }

    @Test func `one at a time, and a dead one's turn ends`() async throws {
        try await Exporter.with { exporter in
            let store = exporter.accounts.store
            let lease = try #require(try await store.beginExport(of: exporter.user))
            let refused = try await exporter.call()
            #expect(refused.problem == .rateLimited)
            #expect(refused.headers[.retryAfter] == "30")
            #expect(try await store.renew(lease))
            _ = try await exporter.stack.postgres.query("UPDATE exports SET lease_until = now_ms() - 1")
            #expect(try await exporter.call().status == 200)
            #expect(try await !store.renew(lease), "another one has had its turn")
            let next = try #require(try await store.beginExport(of: exporter.user))
            try await store.end(lease)
            #expect(try await store.beginExport(of: exporter.user) == nil, "only one's own turn can be ended")
            try await store.end(next)
            #expect(try await exporter.call().status == 200)
            #expect(try await store.beginExport(of: .random()) == nil, "nobody")
        }
    }

    /// A writer that takes one page after the other, and notes the largest.
    private struct PageWriter: ResponseBodyWriter {
        final class Sizes: Sendable { let all = Mutex<[Int]>([]) }
        struct Full: Error {}
        let sizes: Sizes
        var limit = Int.max

        mutating func write(_ buffer: ByteBuffer) async throws {
            let count = sizes.all.withLock {
                $0.append(buffer.readableBytes)
                return $0.count
            }
            guard count < limit else { throw Full() }
        }

        consuming func finish(_ trailingHeaders: HTTPFields?) async throws {}
    }

    private func response(_ exporter: Exporter) async throws -> Response {
        let head = HTTPRequest(
            method: .get,
            scheme: "http",
            authority: "test",
            path: "/v1/me/export",
            headerFields: exporter.headers
        )
        let source = ApplicationRequestContextSource(channel: NIOAsyncTestingChannel(), logger: HistoryStack.logger)
        let request = Request(head: head, body: RequestBody(buffer: ByteBuffer()))
        return try await exporter.router.buildResponder()
            .respond(to: request, context: ParleyRequestContext(source: source))
    }

    @Test func `however much there is, no more than a page is held`() async throws {
        try await Exporter.with { exporter in
            let talk = ConversationID.direct(exporter.user, .random())
            try await exporter.join(talk)
            let start = WallClock.milliseconds() - 10 * HistoryStack.day
            try await exporter.stack.archive(20_000, in: talk, from: start, step: 20_000)
            let sizes = PageWriter.Sizes()
            try await response(exporter).body.write(PageWriter(sizes: sizes))
            let pages = sizes.all.withLock(\.self)
            #expect(pages.count > 200)
            #expect(pages.max() ?? 0 < 200 * AccountExport.pageSize)
            #expect(pages.reduce(0, +) > 2_000_000)
        }
    }

    @Test func `a client that leaves frees the turn`() async throws {
        try await Exporter.with { exporter in
            let talk = ConversationID.direct(exporter.user, .random())
            try await exporter.join(talk)
            try await exporter.stack.archive(1000, in: talk, from: WallClock.milliseconds() - 10_000_000, step: 1000)
            let writer = PageWriter(sizes: PageWriter.Sizes(), limit: 3)
            await #expect(throws: PageWriter.Full.self) { try await response(exporter).body.write(writer) }
            #expect(try await exporter.lines().last?["complete"] as? Bool == true)
        }
    }
}
