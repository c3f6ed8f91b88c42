import ArgumentParser
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import ParleyClient
import ParleyWire
import PostgresClient
import TestSupport
import Testing

@testable import parley_load

/// The load generator's tools on a whole stack.
@Suite(.timeLimit(.minutes(5))) struct LoadStackTests {
    private static func withStack(
        gateways: Int,
        workers: Int,
        _ body: (StackProcess, MultiThreadedEventLoopGroup) async throws -> Void
    ) async throws {
        let stack = try StackProcess()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let outcome: Result<Void, any Error>
        do {
            try await stack.up(gateways: gateways, workers: workers)
            outcome = .success(try await body(stack, group))
        } catch {
            outcome = .failure(error)
        }
        try await stack.down()
        try await group.shutdownGracefully()
        try outcome.get()
    }

    /// What a user may read of their own account, but for what differs between any two.
    private static func account(_ token: String, at api: ParleyAPI) async throws -> [String: String] {
        let answer = try await api.request(.GET, "/v1/me", token: token)
        #expect(answer.status == 200)
        let fields = try JSONSerialization.jsonObject(with: Data(answer.body.readableBytesView)) as? [String: Any]
        let own = ["id", "username", "display_name", "created_at"]
        return (fields ?? [:]).filter { !own.contains($0.key) }.mapValues { "\($0)" }
    }

    @Test func `seeded users are as if they had signed up, but have no password`() async throws {
        try await Self.withStack(gateways: 1, workers: 0) { stack, group in
            let described = try StackDescription(path: "\(stack.path)/stack.json")
            let seeder = try #require(try SeedOptions.parse(["--seed-users"]).seeder(stack: described))
            let count = Seeder.batch + 2
            let seeded = try await seeder.accounts(count: count, prefix: "seeded")
            #expect(Set(seeded.map(\.user)).count == count && Set(seeded.map(\.refreshToken)).count == count)

            let api = ParleyAPI(try GatewayAddress(described.gateways[0].url), group: group)
            let ordinary = try await api.signUp(username: "ordinary", password: "password", displayName: "ordinary")
            let expected = try await Self.account(ordinary.accessToken, at: api)
            for index in [0, Seeder.batch - 1, Seeder.batch, count - 1] {
                let account = try await api.refresh(seeded[index].refreshToken)
                #expect(account.user == seeded[index].user)
                #expect(account.person.username == "seeded-\(index)")
                #expect(try await Self.account(account.accessToken, at: api) == expected)
                let second = try await api.refresh(account.refreshToken)
                #expect(second.user == account.user)
            }
            for password in ["!", "password", ""] {
                let body = ByteBuffer(string: #"{"username":"seeded-0","password":"\#(password)"}"#)
                let answer = try await api.request(.POST, "/v1/login", json: body)
                #expect(answer.status == 401)
            }
            let taken = await #expect(throws: PostgresError.self) {
                try await seeder.accounts(count: 1, prefix: "seeded")
            }
            #expect(taken?.sqlState == "23505")
            #expect(try await seeder.accounts(count: 0, prefix: "none").isEmpty)
            await api.shutdown()
        }
    }

    @Test func `seeding needs a database`() async throws {
        #expect(try SeedOptions.parse([]).seeder(stack: nil)?.database == nil)
        let options = try SeedOptions.parse(["--seed-users"])
        #expect(throws: LoadError.self) { try options.seeder(stack: nil) }
        let url = "postgres://parley:hunter2@127.0.0.1:1/parley"
        let seeder = try #require(try SeedOptions.parse(["--seed-users", "--database", url]).seeder(stack: nil))
        let error = await #expect(throws: PostgresError.self) { try await seeder.accounts(count: 1, prefix: "load") }
        #expect(error?.code == .connectionFailed)
        #expect(error?.description.contains("hunter2") == false)
    }

    @Test func `a fault script steers a stack and the meter follows it`() async throws {
        try await Self.withStack(gateways: 1, workers: 1) { stack, group in
            let path = "\(stack.path)/stack.json"
            let before = try stack.description()
            let script = "\(stack.path)/faults.txt"
            try Data(
                """
                0s kill gateway-1
                100ms start gateway-1
                100ms pause redis 500ms
                3s kill redis
                3500ms start redis
                """.utf8
            ).write(to: URL(fileURLWithPath: script))
            let options = try FaultOptions.parse([
                "--faults", script, "--stack-command", "\(PackageRoot.path)/Scripts/stack",
            ])
            let faults = try #require(try options.runner(stackPath: path, seconds: 60))
            let meter = try ServerMeter(stackPath: path, eventLoop: group.next())
            let first = await meter.sample()
            #expect(first.redis != nil)
            try await faults.during {
                let isThrough = try await eventually(within: .seconds(120), every: .milliseconds(200)) {
                    _ = await meter.sample()
                    return faults.marks.count == 6
                }
                #expect(isThrough, "\(faults.marks)")
            }
            let after = try stack.description()
            #expect(after.gateways[0].pid != before.gateways[0].pid && after.redis.pid != before.redis.pid)
            #expect(after.workers[0].pid == before.workers[0].pid)

            // The new processes are seen, Redis's counters too: the worker asks for entries all the time.
            let seen = try await eventually(every: .milliseconds(200)) {
                let figures = await meter.sample().since(first)
                return figures.cpu[.gateways] ?? 0 > 0 && figures.redis?.calls["xread"] ?? 0 > 0
                    && figures.redis?.calls["ping"] ?? 0 >= 1
            }
            #expect(seen)
            #expect(await meter.sample().gatewayRSS?.keys.map(\.pid) == [after.gateways[0].pid])
            await meter.close()
        }
    }
}
