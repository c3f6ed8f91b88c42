import ParleyCore
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

@Suite struct SuggestGenerationTests {
    /// `count` queries that begin with `stem`, the first of them the heaviest.
    private static func queries(_ stem: String, _ count: Int) -> [String: Double] {
        Dictionary(uniqueKeysWithValues: (0..<count).map { ("\(stem)\($0 < 10 ? "0" : "")\($0)", Double(1000 - $0)) })
    }

    @Test func `sorted sets are for heavy prefixes alone, and all entries stand in the lexicographic set`() async throws
    {
        try await SuggestStack.with { stack in
            let generation = try await stack.publish(Self.queries("new ", 30).merging(["next": 5]) { $1 })
            let base = "ac:{default:0}:g\(generation.id):"
            let heavy = ["n", "ne", "new", "new "].map { "\(base)p:\($0)" }
            #expect(try await stack.keys() == (["\(base)e", "\(base)ready"] + heavy).sorted())
            #expect(try await stack.redis.send("ZCARD", "\(base)e").integer == 31)
            #expect(try await stack.redis.send("ZCARD", "\(base)p:new").integer == 16)
            #expect(try await stack.redis.send("ZREVRANGE", "\(base)p:n", "0", "0").array?.first?.string == "new 00")
            #expect(try await #require(stack.redis.send("TTL", "\(base)p:n").integer) > 86_400)
        }
    }

    @Test func `PostgreSQL's snapshot answers as Redis does`() async throws {
        try await SuggestStack.with { stack in
            let generation = try await stack.publish(Self.queries("new ", 30).merging(["Straße": 7]) { $1 })
            let heavy = try await stack.store.completions(of: Array("new".utf8), in: generation)
            #expect(heavy.map(\.display) == (0..<16).map { "new \($0 < 10 ? "0" : "")\($0)" })
            let light = try await stack.store.completions(of: Array("strass".utf8), in: generation)
            #expect(light == [SuggestEntry(display: "Straße", weight: 7)])
        }
    }

    @Test func `of two generations with the same base the first wins, and the other leaves nothing`() async throws {
        try await SuggestStack.with { stack in
            let first = try await stack.writer.build(
                [.init(display: "one", weight: 1)],
                for: .fallback,
                base: nil,
                source: ""
            )
            let other = try await stack.writer.build(
                [.init(display: "two", weight: 1)],
                for: .fallback,
                base: nil,
                source: ""
            )
            try await stack.writer.flip(to: other)
            await #expect(throws: GenerationWriter.Refusal.self) { try await stack.writer.flip(to: first) }
            #expect(try await stack.store.current(of: .fallback)?.id == other.id)
            #expect(try await stack.keys().allSatisfy { $0.contains(":g\(other.id):") })
            #expect(try await stack.store.completions(of: Array("o".utf8), in: first).isEmpty)
        }
    }

    @Test func `the generation before is kept to go back to, and older ones are unlinked`() async throws {
        try await SuggestStack.with { stack in
            var made: [SuggestGeneration] = []
            for name in ["one", "two", "three"] {
                made.append(try await stack.publish(Self.queries(name, 20)))
                try await stack.writer.retireOld(of: .fallback)
            }
            let ids = Set(try await stack.keys().compactMap { $0.split(separator: ":").first { $0.hasPrefix("g") } })
            #expect(ids == ["g\(made[1].id)", "g\(made[2].id)"])
            #expect(try await stack.writer.rollBack(.fallback).id == made[1].id)
            #expect(try await stack.store.current(of: .fallback)?.id == made[1].id)
            #expect(try await stack.writer.rollBack(.fallback).id == made[2].id)
            let other = try #require(SuggestLocale("xx"))
            await #expect(throws: GenerationWriter.Refusal.self) { try await stack.writer.rollBack(other) }
        }
    }

    @Test func `going back fills what Redis lost meanwhile`() async throws {
        try await SuggestStack.with { stack in
            let first = try await stack.publish(Self.queries("one", 20))
            _ = try await stack.publish(Self.queries("two", 20))
            let before = try await stack.keys().filter { $0.contains(":g\(first.id):") }
            try await stack.server.command("FLUSHALL")
            _ = try await stack.writer.rollBack(.fallback)
            #expect(try await stack.keys() == before)
        }
    }

    @Test func `a shard that lost a member or a set is not called ready`() async throws {
        try await SuggestStack.with { stack in
            let generation = try await stack.publish(Self.queries("new", 20))
            let keys = generation.keys(0)
            _ = try await stack.redis.send("DEL", keys.ready)
            _ = try await stack.redis.send("ZADD", keys.entries, "0", "strange")
            await #expect(throws: ShardFiller.Mismatch.self) { try await stack.writer.filler.fill(generation, 0) }
            #expect(try await stack.redis.send("EXISTS", keys.ready).integer == 0)
            _ = try await stack.redis.send("ZREM", keys.entries, "strange")
            #expect(try await stack.writer.filler.fill(generation, 0) == .filled)
        }
    }

    @Test func `what is retired is not filled again`() async throws {
        try await SuggestStack.with { stack in
            let generation = try await stack.writer.build(
                [.init(display: "one", weight: 1)],
                for: .fallback,
                base: nil,
                source: ""
            )
            try await stack.writer.discard(generation)
            #expect(try await stack.writer.filler.fill(generation, 0) == .gone)
            #expect(try await stack.keys().isEmpty)
        }
    }

    @Test func `each shard has its range, and prefixes on several have a set`() async throws {
        try await SuggestStack.with { stack in
            let map = try #require(SuggestShardMap(bounds: [Array("nf".utf8), Array("q".utf8)]))
            let generation = try await stack.publish(["new": 3, "now": 2, "quo": 1], map: map)
            let base = "g\(generation.id):"
            #expect(
                try await stack.keys() == [
                    "ac:{default:0}:\(base)e", "ac:{default:0}:\(base)p:n", "ac:{default:0}:\(base)ready",
                    "ac:{default:1}:\(base)e", "ac:{default:1}:\(base)ready",
                    "ac:{default:2}:\(base)e", "ac:{default:2}:\(base)ready",
                ]
            )
            #expect(try await stack.redis.send("ZCARD", "ac:{default:0}:\(base)p:n").integer == 2)
            #expect(try await stack.store.newestMap(of: .fallback) == map)
        }
    }
}

@Suite struct SuggestImportTests {
    @Test func `bad lines are told by their numbers`() {
        let lines: [(String, String?)] = [
            ("new york\t12\ten", nil), ("", nil), ("weather\t3", nil), ("no count\ten", "count"), ("a\t0\ten", "count"),
            ("a\t-3\ten", "count"), ("a\tnan\ten", "count"), ("a\t1e99\ten", "count"), ("a\t1\tnowhere!", "locale"),
            ("\t4\ten", "empty"), ("a\t1\ten\tmore", "tabs"), ("alone", "tabs"),
            (String(repeating: "x", count: 65) + "\t1\ten", "bytes"), ("ok\t2\ten\r", nil),
        ]
        let file = SuggestImport(Array(lines.map(\.0).joined(separator: "\n").utf8) + [0x0A, 0xFF, 0x09, 0x31])
        let expected = lines.enumerated().filter { $0.element.1 != nil }
        #expect(file.bad.map(\.number) == expected.map { $0.offset + 1 } + [lines.count + 1])
        for (bad, (_, line)) in zip(file.bad, expected) { #expect(bad.why.contains(line.1 ?? ""), "\(line.0)") }
        #expect(file.lists[SuggestLocale("en")!]?.map(\.display) == ["new york", "ok"])
        #expect(file.lists[.fallback]?.map(\.display) == ["weather"])
    }
}
