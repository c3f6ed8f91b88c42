import ParleyWire
import PostgresClient
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// From the stream of searches to counts, the gate and trends, on real stores.
@Suite struct GatheringTests {
    @Test func `a search counts once, by its normal form, and as it was written`() async throws {
        try await TypeaheadStack.with { stack in
            let lease = try await stack.lease()
            for text in ["Straße", "STRASSE", "  straße ", "Straße"] { try await stack.search(text) }
            try await stack.search("other", locale: "de")
            let next = try #require(try await stack.reader().round(lease))
            #expect(try await stack.count("strasse") == 4)
            #expect(try await stack.count("other") == 1)
            let forms = try await stack.postgres.query(
                "SELECT display, (count + held)::bigint FROM query_counts WHERE query = 'strasse' ORDER BY display"
            ).decode((String, Int64).self)
            #expect(forms.map { "\($0.0) \($0.1)" } == ["STRASSE 1", "Straße 2", "straße 1"])
            // The last stays.
            #expect(try await stack.client.send("XLEN", TypeaheadStack.shard.key).integer == 1)
            _ = try await stack.reader().round(next.lease)
            #expect(try await stack.count("strasse") == 4)
        }
    }

    @Test func `of two who think a shard theirs one counts it`() async throws {
        try await TypeaheadStack.with { stack in
            let first = try await stack.lease("one")
            let second = try await stack.lease("two")
            for _ in 0..<10 { try await stack.search("tea") }
            #expect(try await stack.reader("one").round(first) == nil, "its token is old")
            #expect(try await stack.count("tea") == 0)
            _ = try #require(try await stack.reader("two").round(second))
            // The same token, from a position that was passed: a worker that stood still after it had read.
            try await stack.search("tea")
            #expect(try await stack.reader("two").round(second) == nil)
            #expect(try await stack.count("tea") == 10)
        }
    }

    @Test func `a worker that dies between the counts and the rest repeats nothing`() async throws {
        try await TypeaheadStack.with { stack in
            let lease = try await stack.lease()
            let last = try await stack.search("tea")
            var batch = SearchBatch()
            let reply = try await stack.client.send("XRANGE", TypeaheadStack.shard.key, "-", "+")
            for (id, entry) in SearchEntry.all(in: reply) { batch.add(entry, id: id) }
            try await QueryCounts(postgres: stack.postgres).add(batch, opened: [], of: lease)
            // The next one finds the entry in the stream, and the position past it.
            let next = try await stack.lease("two")
            #expect(next.position == last && next.token > lease.token)
            _ = try await stack.reader("two").round(next)
            #expect(try await stack.count("tea") == 1)
        }
    }

    @Test func `leases are shared out one at a time, end, and are given back`() async throws {
        try await TypeaheadStack.with { stack in
            let (one, two) = (stack.leases("one"), stack.leases("two"))
            var (first, second) = (try await one.renew([:]), try await two.renew([:]))
            #expect(first.count == 1 && second.count == 1 && first.keys != second.keys)
            for _ in 0..<3 { first = try await one.renew(first) }
            #expect(first.count + second.count == SearchShard.count)
            // One that failed and forgot what it held has it again at once.
            #expect(try await one.renew([:]).count == 1)
            try await two.release(second)
            for _ in 0..<SearchShard.count + 1 { first = try await one.renew(first) }
            #expect(first.count == SearchShard.count)
            _ = try await stack.postgres.query("UPDATE search_shards SET lease_until = 1")
            second = try await two.renew([:])
            let token = try #require(second.values.first)
            #expect(token.token > first[token.shard]?.token ?? .max)
            first = try await one.renew(first)
            #expect(first[token.shard] == nil, "another has taken it")
        }
    }

    @Test func `what Redis lost is not counted, and what comes then is`() async throws {
        try await TypeaheadStack.with { stack in
            var lease = try await stack.lease()
            try await stack.search("tea")
            lease = try #require(try await stack.reader().round(lease)).lease
            // As after a clock that was ahead: what is appended now would stand below what is counted.
            let ahead = "99999999999999-0"
            _ = try await stack.postgres.query("UPDATE search_shards SET position = \(ahead) WHERE shard = 0")
            lease.position = ahead
            _ = try await stack.client.send("FLUSHALL")
            lease = try #require(try await stack.reader().round(lease)).lease
            #expect(lease.position == ahead)
            try await stack.search("tea")
            lease = try #require(try await stack.reader().round(lease)).lease
            #expect(lease.position != ahead)
            #expect(try await stack.count("tea") == 2)
        }
    }

    @Test func `what is no search is passed over`() async throws {
        try await TypeaheadStack.with { stack in
            let lease = try await stack.lease()
            let key = TypeaheadStack.shard.key
            _ = try await stack.client.send("XADD", key, "*", "odd", "entry")
            _ = try await stack.client.send("XADD", key, "*", "q", "tea", "l", "en", "n", "-5")
            try await stack.search("\u{200b}\u{200b}")
            let last = try await stack.search("tea")
            let next = try #require(try await stack.reader().round(lease))
            #expect(next.lease.position == last)
            #expect(try await stack.count("tea") == 1)
        }
    }

    @Test func `a query is open when five people have searched for it, whatever is sampled`() async throws {
        try await TypeaheadStack.with { stack in
            var lease = try await stack.lease()
            let people = (0..<5).map { _ in UserID.random() }
            let key = PrivacyGate.key(SearchedQuery(locale: "en", text: "tea"))
            // One person in many ways, many without a name, and four people who stand for a thousand each.
            for text in ["tea", "Tea", "TEA ", "tea", "tea", "tea"] { try await stack.search(text, by: people[0]) }
            for _ in 0..<20 { try await stack.search("tea") }
            for user in people.dropLast() { try await stack.search("tea", by: user, weight: 1000) }
            lease = try #require(try await stack.reader().round(lease)).lease
            #expect(try await stack.count("tea") == 4026)
            #expect(try await !stack.isOpen("tea"))
            #expect(try await stack.trending() == [])
            let members = try await stack.client.send("SMEMBERS", key).array?.compactMap(\.string) ?? []
            #expect(members.count == 4)
            #expect(members.allSatisfy { member in !people.contains { member.contains($0.description) } })
            #expect(try await stack.client.send("PTTL", key).integer ?? 0 > 0)

            try await stack.search("tea", by: people[4])
            try await stack.search("tea", by: people[4], locale: "de")
            lease = try #require(try await stack.reader().round(lease)).lease
            #expect(try await stack.isOpen("tea"))
            #expect(try await !stack.isOpen("tea", locale: "de"))
            #expect(try await stack.client.send("EXISTS", key).integer == 0, "nobody needs to know who it was")
            #expect(try await stack.trending() == ["tea"])
            // From then on anybody's search counts for the trend.
            try await stack.search("tea")
            _ = try await stack.reader().round(lease)
            #expect(try await stack.client.send("EXISTS", key).integer == 0)
        }
    }

    @Test func `counts that are too old are forgotten, and so is what was open by them`() async throws {
        try await TypeaheadStack.with { stack in
            _ = try await stack.postgres.query(
                """
                INSERT INTO query_counts SELECT 'en', (now_ms() / 86400000)::integer - age, 'q' || age, 'q', 1, 0
                FROM unnest(ARRAY[0, 10, 11]) AS age
                """
            )
            _ = try await stack.postgres.query(
                """
                INSERT INTO query_gate SELECT 'en', 'q' || age, (now_ms() / 86400000)::integer - 20
                FROM unnest(ARRAY[0, 10, 11]) AS age
                """
            )
            try await QueryCounts(postgres: stack.postgres).forget(olderThan: 10)
            #expect(try await [stack.count("q0"), stack.count("q10"), stack.count("q11")] == [1, 1, 0])
            #expect(try await stack.isOpen("q10"))
            #expect(try await !stack.isOpen("q11"))
        }
    }

    @Test func `one user in N is listened to, always the same, and stands for N`() async throws {
        try await TypeaheadStack.with { stack in
            let users = (0..<400).map { _ in UserID.random() }
            let intake = SearchIntake(redis: stack.client, pseudonyms: stack.pseudonyms, sampling: 4)
            for user in users + users { try await intake.take("tea", locale: "en", by: user) }
            var heard: [[UInt8]: Int] = [:]
            var shards = 0
            for shard in SearchShard.all {
                let entries = SearchEntry.all(in: try await stack.client.send("XRANGE", shard.key, "-", "+"))
                shards += entries.isEmpty ? 0 : 1
                for (_, entry) in entries {
                    #expect(entry?.weight == 4)
                    heard[entry?.user ?? [], default: 0] += 1
                }
            }
            #expect(heard.values.allSatisfy { $0 == 2 })
            // A hundred of 400 are expected, 8.7 the deviation.
            #expect(40...160 ~= heard.count)
            #expect(shards == SearchShard.count)
            #expect(intake.count == 2 * heard.count)
        }
    }
}
