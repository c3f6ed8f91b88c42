import Logging
import NIOCore
import ParleyCore
import PostgresClient
import RedisClient
import Synchronization
import TestSupport
import Testing

@testable import ParleyServer

private final class End: Sendable {
    let hasCome = Atomic(false)
}

/// Lists made of what was imported and gathered, on real stores.
@Suite struct SuggestBuilderTests {
    private static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private func builder(_ stack: SuggestStack, _ change: (inout BuildConfiguration) -> Void = { _ in })
        -> SuggestBuilder
    {
        var configuration = BuildConfiguration()
        change(&configuration)
        return SuggestBuilder(writer: stack.writer, configuration: configuration, logger: Self.logger)
    }

    /// Puts what was searched for into the tables.
    private func gather(
        _ stack: SuggestStack,
        _ query: String,
        count: Int64 = 0,
        held: Int64 = 0,
        daysAgo: Int64 = 0,
        locale: String = "default",
        isOpen: Bool = true
    ) async throws {
        let text = try SuggestText(utf8: query.utf8, .query).string
        _ = try await stack.postgres.query(
            """
            INSERT INTO query_counts (locale, day, query, display, count, held)
            SELECT \(locale), (now_ms() / 86400000 - \(daysAgo))::integer, \(text), \(query), \(count), \(held)
            """
        )
        guard isOpen else { return }
        _ = try await stack.postgres.query(
            "INSERT INTO query_gate (locale, query, opened_on) VALUES (\(locale), \(text), 0) ON CONFLICT DO NOTHING"
        )
    }

    private func answers(_ stack: SuggestStack, _ prefix: String, _ locale: SuggestLocale = .fallback) async throws
        -> [String]
    {
        let generation = try #require(try await stack.store.current(of: locale))
        return try await stack.store.completions(of: Array(prefix.utf8), in: generation).map {
            "\($0.display) \(($0.weight * 100).rounded() / 100)"
        }
    }

    @Test func `a list adds what was gathered to what was imported, and fades it by the day`() async throws {
        try await SuggestStack.with { stack in
            let sources = QuerySources(postgres: stack.postgres)
            try await sources.replace(
                .fallback,
                by: [.init(display: "Tea", weight: 3), .init(display: "Tee", weight: 2)]
            )
            try await sources.replace(
                .fallback,
                by: [.init(display: "Tea", weight: 4), .init(display: "Tea", weight: 1)]
            )
            try await gather(stack, "tea", count: 8)
            try await gather(stack, "ten", count: 8, daysAgo: 30)
            try await gather(stack, "test secret", count: 100, isOpen: false)
            try await gather(stack, "tell bad things", count: 50)
            try await gather(stack, "technique", held: 20)
            let rules = RuleStore(postgres: stack.postgres)
            _ = try await rules.change(.block, SuggestFilter.Rule(.word, "bad"), reason: nil, by: "x")
            let outcomes = try await builder(stack).build { _ in }
            #expect(outcomes.map(\.isGood) == [true], "\(outcomes)")
            #expect(try await answers(stack, "te") == ["tea 13.0", "ten 4.0"])
        }
    }

    @Test func `searches count for their country's and language's lists, or for the one of all others`() async throws {
        try await SuggestStack.with { stack in
            try await QuerySources(postgres: stack.postgres).replace(
                #require(SuggestLocale("de")),
                by: [.init(display: "zug", weight: 1)]
            )
            try await gather(stack, "zahn", count: 2, locale: "de-AT")
            try await gather(stack, "zoo", count: 3, locale: "fr")
            _ = try await builder(stack).build { _ in }
            #expect(try await answers(stack, "z", #require(SuggestLocale("de"))) == ["zahn 2.0", "zug 1.0"])
            #expect(try await answers(stack, "z") == ["zoo 3.0"])
            #expect(try await stack.store.current().count == 2)
            // Enough for lists of their own.
            _ = try await builder(stack) { $0.leastQueries = 1 }.build { _ in }
            #expect(try await answers(stack, "z", #require(SuggestLocale("de-AT"))) == ["zahn 2.0"])
            #expect(try await answers(stack, "z", #require(SuggestLocale("fr"))) == ["zoo 3.0"])
        }
    }

    @Test func `a list that lost most of its queries stays out of force, unless it is forced in`() async throws {
        try await SuggestStack.with { stack in
            let before = try await stack.publish(["one": 3, "two": 2, "three": 1, "four": 1])
            try await gather(stack, "five", count: 1)
            let refused = try await builder(stack).build { _ in }
            #expect(refused.map(\.isGood) == [false])
            #expect(refused[0].text.contains("it has 1 queries, and before were 4"), "\(refused)")
            #expect(try await stack.store.current(of: .fallback)?.id == before.id)
            #expect(try await stack.keys().allSatisfy { $0.contains(":g\(before.id):") }, "nothing of it is left")
            #expect(try await builder(stack).build(isForced: true) { _ in }.map(\.isGood) == [true])
            #expect(try await answers(stack, "f") == ["five 1.0"])
        }
    }

    @Test func `a list by which people find worse what they search for stays out of force`() async throws {
        try await SuggestStack.with { stack in
            let good: [String: Double] = ["weather": 90, "weapon": 5, "wealth": 4, "weary": 3, "weasel": 2, "wean": 1]
            let before = try await stack.publish(good)
            for word in good.keys { try await gather(stack, word, count: word == "weather" ? 1 : 50) }
            try await gather(stack, "weather", held: 100, daysAgo: 1)
            let refused = try await builder(stack).build { _ in }
            #expect(refused.map(\.isGood) == [false])
            #expect(refused[0].text.contains("mean reciprocal rank"), "\(refused)")
            #expect(try await stack.store.current(of: .fallback)?.id == before.id)
            // With too few of them nothing is said.
            #expect(try await builder(stack) { $0.leastHeld = 10_000 }.build { _ in }.map(\.isGood) == [true])
        }
    }

    @Test func `one builds at a time, and whoever lost the turn cannot go on`() async throws {
        try await SuggestStack.with { stack in
            let desk = BuilderDesk(postgres: stack.postgres)
            let turn = try #require(try await desk.take("one"), "the schedule's first is due")
            #expect(try await desk.take("two") == nil)
            #expect(try await desk.renew(turn, "half of it"))
            let standing = try await desk.standing()
            #expect(standing.owner == "one" && standing.progress == "half of it")
            _ = try await stack.postgres.query("UPDATE suggest_builder SET lease_until = 1")
            let other = try #require(try await desk.take("two"))
            #expect(try await !desk.renew(turn, "more"))
            try await desk.end(turn, outcome: "late", isGood: true, period: 0)
            #expect(try await desk.standing().owner == "two")
            try await desk.end(other, outcome: "done", isGood: true, period: 3_600_000)
            let ended = try await desk.standing()
            #expect(ended.owner == nil && ended.outcome == "done" && ended.isGood == true && ended.nextIn > 0)
            #expect(try await desk.take("one") == nil, "nothing is due")
            let number = try await desk.ask()
            let asked = try #require(try await desk.take("one"))
            #expect(asked.asked == number)
            try await desk.end(asked, outcome: "", isGood: true, period: -1)
            try await desk.rest()
            #expect(try await desk.take("one") == nil, "it rests, although the schedule's next is due")
            _ = try await desk.ask()
            #expect(try await desk.take("one") != nil)
        }
    }

    @Test func `a worker does what is asked for and says what came of it`() async throws {
        try await SuggestStack.with { stack in
            try await gather(stack, "tea", count: 1)
            let desk = BuilderDesk(postgres: stack.postgres)
            let keeper = BuildKeeper(
                builder: builder(stack),
                desk: desk,
                worker: "worker-1",
                count: BuildCount(),
                logger: Self.logger
            )
            let number = try await desk.ask()
            let run = Task { try await keeper.run() }
            #expect(try await eventually { try await desk.standing().answered >= number })
            let standing = try await desk.standing()
            #expect(standing.isGood == true && standing.outcome?.contains("is in force") == true, "\(standing)")
            #expect(try await answers(stack, "t") == ["tea 1.0"])
            run.cancel()
            _ = try? await run.value
        }
    }

    /// The heaviest of each prefix, by looking at every query.
    private func heaviest(_ prefix: [UInt8], of queries: [String: Double]) -> [String] {
        let found = queries.filter { $0.key.utf8.starts(with: prefix) }.sorted {
            ($1.value, $0.key) < ($0.value, $1.key)
        }
        return found.prefix(5).map(\.key)
    }

    /// The first five of what Redis answers, as a gateway asks it.
    private func suggested(_ prefix: [UInt8], _ generation: SuggestGeneration, _ stack: SuggestStack) async throws
        -> [String]?
    {
        let keys = generation.keys(generation.map.shard(of: prefix))
        let text = String(decoding: prefix, as: UTF8.self)
        let call = RedisFunctions.call(
            "suggest_read",
            keys: [keys.ready, keys.prefix(prefix), keys.entries],
            [text, String(SuggestIndex.width)],
            readOnly: true
        )
        guard let reply = try await stack.redis.send(call).array, let kind = reply.first?.integer else { return nil }
        guard kind == 0 else {
            return stride(from: 1, to: reply.count, by: 2).prefix(5).compactMap { reply[$0].string }
        }
        let entries = reply.dropFirst().compactMap { $0.bytes.flatMap { SuggestMember.read($0.readableBytesView) } }
        let ranked = entries.sorted { ($1.weight, $0.display) < ($0.weight, $1.display) }
        return ranked.prefix(5).map(\.display)
    }

    @Test func `an uneven alphabet is spread evenly by the next list, and no answer is wrong meanwhile`() async throws {
        try await SuggestStack.with { stack in
            var queries: [String: Double] = [:]
            var seed: UInt64 = 7
            func random(_ limit: UInt64) -> UInt64 {
                seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return (seed >> 33) % limit
            }
            while queries.count < 2500 {
                // Most begin with s.
                let first: UInt8 = random(10) < 7 ? 0x73 : 0x61 + UInt8(random(26))
                let word = String(decoding: [first] + (0..<5).map { _ in 0x61 + UInt8(random(12)) }, as: UTF8.self)
                // No two weigh the same.
                if queries[word] == nil { queries[word] = Double(1000 + queries.count * 7 % 2503) }
            }
            let byLetter = try #require(SuggestShardMap(bounds: ["g", "n", "t"].map { Array($0.utf8) }))
            let sources = QuerySources(postgres: stack.postgres)
            let entries = queries.map { SuggestEntry(display: $0.key, weight: $0.value) }
            try await sources.replace(.fallback, by: entries)
            let before = try await stack.publish(queries, map: byLetter)
            let weights = SuggestWeights(entries, of: .fallback)
            #expect(SuggestWeights.imbalance(of: weights.loads(under: byLetter)) > 2)

            let end = End()
            let build = Task {
                defer { end.hasCome.store(true, ordering: .relaxed) }
                return try await builder(stack).build { _ in }
            }
            let prefixes = queries.keys.sorted().enumerated().compactMap { index, word in
                index % 60 == 0 ? Array(word.utf8) : nil
            }
            var asked: Set<Int32> = []
            var rounds = 0
            // At least once after the new list is in force.
            while true {
                let isLast = end.hasCome.load(ordering: .relaxed)
                let generation = try #require(try await stack.store.current(of: .fallback))
                asked.insert(generation.id)
                let prefix = prefixes[rounds % prefixes.count].prefix(1 + rounds % 5)
                let found = try await suggested(Array(prefix), generation, stack)
                #expect(found == heaviest(Array(prefix), of: queries), "\(prefix) of \(generation.id)")
                rounds += 1
                if isLast { break }
            }
            #expect(try await build.value.map(\.isGood) == [true])
            let after = try #require(try await stack.store.current(of: .fallback))
            #expect(asked == [before.id, after.id])
            #expect(after.map.count == 4)
            #expect(SuggestWeights.imbalance(of: weights.loads(under: after.map)) <= 1.2)
            for prefix in prefixes {
                for length in 1...prefix.count {
                    let prefix = Array(prefix.prefix(length))
                    #expect(try await suggested(prefix, after, stack) == heaviest(prefix, of: queries))
                }
            }
            // The next one keeps a map that is even.
            _ = try await builder(stack).build { _ in }
            #expect(try await stack.store.current(of: .fallback)?.map == after.map)
        }
    }
}

@Suite struct ListChoiceTests {
    private func locale(_ text: String) throws -> SuggestLocale { try #require(SuggestLocale(text)) }

    @Test func `a language has a list when its countries have enough together`() throws {
        let choice = ListChoice(
            imported: [try locale("ja")],
            sizes: [try locale("en-US"): 60, try locale("en-GB"): 50, try locale("fr"): 9],
            least: 100
        )
        #expect(choice.lists == [try locale("ja"), try locale("en"), .fallback])
        #expect(choice.lists(of: try locale("en-US")) == [try locale("en")])
        #expect(choice.lists(of: try locale("ja-JP")) == [try locale("ja")])
        #expect(choice.lists(of: try locale("fr")) == [.fallback])
        #expect(choice.lists(of: .fallback) == [.fallback])
    }
}
