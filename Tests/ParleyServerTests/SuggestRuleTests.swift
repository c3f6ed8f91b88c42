import NIOCore
import ParleyCore
import PostgresClient
import RedisClient
import ServiceLifecycle
import TestSupport
import Testing

@testable import ParleyServer

/// Rules in PostgreSQL, and how gateways come to have them.
@Suite struct SuggestRuleTests {
    private func rule(_ kind: SuggestFilter.Rule.Kind, _ text: String, _ locale: String? = nil) throws
        -> SuggestFilter.Rule
    {
        try SuggestFilter.Rule(kind, text, in: locale.flatMap { SuggestLocale($0) })
    }

    @Test func `each change has a version of its own, and stands in the log`() async throws {
        try await TypeaheadStack.with { stack in
            let store = RuleStore(postgres: stack.postgres)
            #expect(try await store.read().filter.version == 0)
            let bad = try rule(.word, "BAD")
            #expect(try await store.change(.block, bad, reason: "a complaint", by: "ann") == 1)
            #expect(try await store.change(.block, rule(.word, "bad"), reason: nil, by: "bob") == nil, "it is blocked")
            #expect(try await store.change(.block, rule(.word, "bad", "de"), reason: nil, by: "bob") == 2)
            #expect(try await store.change(.unblock, rule(.exact, "bad"), reason: nil, by: "bob") == nil)
            let reading = try await store.read()
            #expect(reading.filter.version == 2 && reading.filter.rules.count == 2)
            #expect(reading.at > 0 && reading.readAt >= reading.at)
            #expect(!reading.filter.allows("a bad word", in: .fallback))
            #expect(try await store.change(.unblock, bad, reason: nil, by: "ann") == 3)
            let filter = try await store.read().filter
            #expect(filter.allows("a bad word", in: .fallback))
            #expect(try !filter.allows("a bad word", in: #require(SuggestLocale("de-AT"))))
            let log = try await store.log(limit: 10)
            let told = log.map { "\($0.version) \($0.action) \($0.by)" }
            #expect(told == ["3 unblock ann", "2 block bob", "1 block ann"])
            #expect(log.last?.reason == "a complaint" && log.last?.rule == bad)
        }
    }

    @Test func `of many changes at once none is lost, and the last version has them all`() async throws {
        try await TypeaheadStack.with { stack in
            let store = RuleStore(postgres: stack.postgres)
            let rules = try (0..<20).map { try rule(.exact, "word \($0 / 2)") }
            let changes = rules.map { rule in
                Task { try await store.change(.block, rule, reason: nil, by: "x") }
            }
            var versions: [Int64] = []
            for change in changes { if let version = try await change.value { versions.append(version) } }
            #expect(versions.sorted() == Array(1...10))
            let filter = try await store.read().filter
            #expect(filter.version == 10 && filter.rules.count == 10)
            #expect(try await store.log(limit: 100).map(\.version) == Array((1...10).reversed()))
        }
    }

    @Test func `a gateway has a change at once when it is announced, and soon when it is not`() async throws {
        try await TypeaheadStack.with { stack in
            let store = RuleStore(postgres: stack.postgres)
            let feed = FilterFeed(
                store: store,
                redis: stack.client,
                name: "gateway-1",
                logger: TypeaheadStack.logger
            )
            await feed.update()
            #expect(feed.filter.version == 0 && feed.delay == nil)
            let run = Task { try await feed.run() }
            let announced = try #require(await store.change(.block, rule(.word, "bad"), reason: nil, by: "x"))
            _ = try await stack.client.send("PUBLISH", FilterFeed.channel, "\(announced)")
            #expect(try await eventually { feed.filter.version == announced })
            #expect(feed.delay != nil && feed.filter.rules.count == 1)
            // Without Redis, by asking.
            try await stack.redis.kill9()
            let silent = try #require(await store.change(.unblock, rule(.word, "bad"), reason: nil, by: "x"))
            #expect(try await eventually { feed.filter.version == silent })
            try await stack.redis.restart()
            let isTold = try await eventually {
                let words = try await stack.client.send("HGET", FilterFeed.gatewaysKey, "gateway-1", repeatable: true)
                return words.string?.contains("filter=\(silent)") == true
            }
            #expect(isTold)
            run.cancel()
            _ = try? await run.value
        }
    }
}
