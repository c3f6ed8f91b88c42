import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// The trends' function on a real Redis.
@Suite struct TrendTests {
    private static let hour: Int64 = 3_600_000

    private func query(_ text: String) -> SearchedQuery { SearchedQuery(locale: "en", text: text) }

    /// A query's weight as of a moment.
    private func weight(_ text: String, at now: Int64, _ stack: TypeaheadStack, halfLife: Int64 = hour) async throws
        -> Double
    {
        let score = try await stack.client.send("ZSCORE", Trends.key("en"), text).string.flatMap(Double.init) ?? 0
        let landmark = try await stack.client.send("HGET", Trends.stateKey("en"), "landmark").integer ?? 0
        return score * Trends.fading(from: landmark, to: now, halfLife: halfLife)
    }

    @Test func `a search weighs half as much an hour later`() async throws {
        try await TypeaheadStack.with { stack in
            let now = WallClock.milliseconds()
            let recent = [
                query("now"): SearchBatch.Recent(count: 8, at: now),
                query("before"): SearchBatch.Recent(count: 8, at: now - Self.hour),
                query("long ago"): SearchBatch.Recent(count: 8, at: now - 3 * Self.hour),
            ]
            try await stack.trends.add(recent, of: TypeaheadStack.shard, upTo: "5-0")
            for (text, expected) in [("now", 8.0), ("before", 4), ("long ago", 1)] {
                #expect(abs(try await weight(text, at: now, stack) - expected) < 0.001)
            }
            #expect(abs(try await weight("now", at: now + Self.hour, stack) - 4) < 0.001)
        }
    }

    @Test func `a stretch that is in it is not added again, nor one before it`() async throws {
        try await TypeaheadStack.with { stack in
            let recent = [query("tea"): SearchBatch.Recent(count: 1, at: WallClock.milliseconds())]
            let other = SearchShard(number: 1)
            // As numbers, and not as text: 10-0 comes after 9-5.
            let (added, repeated) = (["9-5", "10-0", "10-2"], ["10-2", "10-0", "9-99"])
            for id in added + repeated { try await stack.trends.add(recent, of: TypeaheadStack.shard, upTo: id) }
            try await stack.trends.add(recent, of: other, upTo: "1-0")
            #expect(abs(try await weight("tea", at: WallClock.milliseconds(), stack) - 4) < 0.1)
        }
    }

    @Test func `another landmark or half-life changes neither weights nor order`() async throws {
        try await TypeaheadStack.with { stack in
            let now = WallClock.milliseconds()
            var recent = [query("gone"): SearchBatch.Recent(count: 1, at: now - 11 * Self.hour)]
            for number in 1...20 { recent[query("q\(number)")] = .init(count: Int64(number), at: now) }
            try await stack.trends.add(recent, of: TypeaheadStack.shard, upTo: "1-0")
            let order = try await stack.trending()
            // As if it had begun 100 half-lives ago.
            let factor = 1 / Trends.fading(from: now - 100 * Self.hour, to: now, halfLife: Self.hour)
            _ = try await stack.client.send(
                "ZUNIONSTORE",
                Trends.key("en"),
                "1",
                Trends.key("en"),
                "WEIGHTS",
                "\(factor)"
            )
            let landmark = try await stack.client.send("HGET", Trends.stateKey("en"), "landmark").integer ?? 0
            _ = try await stack.client.send(
                "HSET",
                Trends.stateKey("en"),
                "landmark",
                String(landmark - 100 * Self.hour)
            )
            let one = [query("q1"): SearchBatch.Recent(count: 0, at: now)]
            try await stack.trends.add(one, of: TypeaheadStack.shard, upTo: "2-0")
            #expect(try await stack.client.send("HGET", Trends.stateKey("en"), "landmark").integer ?? 0 >= landmark)
            #expect(try await stack.trending() == order.filter { $0 != "gone" }, "what weighs nothing is gone")
            #expect(abs(try await weight("q20", at: now, stack) - 20) < 0.1)
            let slower = Trends(redis: stack.client, halfLife: 10 * Self.hour)
            try await slower.add(one, of: TypeaheadStack.shard, upTo: "3-0")
            #expect(abs(try await weight("q20", at: now, stack, halfLife: 10 * Self.hour) - 20) < 0.1)
        }
    }

    @Test func `the weightiest thousand are kept`() async throws {
        try await TypeaheadStack.with { stack in
            let now = WallClock.milliseconds()
            for round in 0..<3 {
                var recent: [SearchedQuery: SearchBatch.Recent] = [:]
                for number in 0..<600 {
                    recent[query("q\(round).\(number)")] = .init(count: Int64(number + 1), at: now)
                }
                try await stack.trends.add(recent, of: TypeaheadStack.shard, upTo: "\(round + 1)-0")
            }
            let kept = try await stack.trending()
            #expect(kept.count == Trends.limit)
            #expect(kept.first == "q2.599" || kept.first == "q1.599" || kept.first == "q0.599")
            #expect(!kept.contains("q0.0") && !kept.contains("q1.0"))
        }
    }
}
