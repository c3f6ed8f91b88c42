import Logging
import NIOCore
import NIOPosix
import ParleyCore
import ParleyWire
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// Limits of all gateways together. The lasting rates are so slow that no test waits for one.
@Suite struct RateLimiterTests {
    private static let limits: [Activity: RateLimit] = [
        .search: RateLimit(1, perSeconds: 86_400, burst: 40),
        .send: RateLimit(1, perSeconds: 86_400, burst: 1024),
        .login: RateLimit(1, perSeconds: 86_400, burst: 1000),
        .guess: RateLimit(1, perSeconds: 86_400, burst: 4),
        .account: RateLimit(1, perSeconds: 86_400, burst: 6),
    ]

    /// - Parameter patience: by default so long that a late answer is not taken for none.
    private func limiter(_ stack: MessagesStack, patience: TimeAmount = .seconds(20)) -> RateLimiter {
        RateLimiter(limits: Self.limits, redis: stack.client, patience: patience)
    }

    /// Whether it may happen; what is refused says when to come back.
    private func passes(_ attempt: () async throws -> Void) async throws -> Bool {
        do {
            try await attempt()
            return true
        } catch let problem as HTTPProblem {
            #expect(problem.code == .rateLimited)
            #expect(problem.retryMilliseconds ?? 0 > 0)
            return false
        }
    }

    private func searches(_ limiter: RateLimiter, by subject: String) async throws -> Bool {
        try await passes { try await limiter.require([.init(activity: .search, subject: subject)]) }
    }

    @Test func `two gateways have one limit, and each user their own`() async throws {
        try await MessagesStack.with { stack in
            let gateways = [limiter(stack), limiter(stack)]
            var passed = 0
            for round in 0..<60 where try await searches(gateways[round % 2], by: "ann") { passed += 1 }
            #expect(passed == 40)
            #expect(try await searches(gateways[0], by: "bob"))
        }
    }

    @Test func `without Redis a gateway limits by itself`() async throws {
        try await MessagesStack.with { stack in
            let limiter = limiter(stack, patience: .milliseconds(250))
            try await stack.redis.kill9()
            var passed = 0
            for _ in 0..<45 where try await searches(limiter, by: "ann") { passed += 1 }
            #expect(passed == 40)
            try await stack.redis.restart()
            // And with the others again when it is back.
            #expect(try await eventually { await limiter.ask([.init(activity: .search, subject: "bob")]) == 0 })
        }
    }

    @Test func `the time is that of Redis, and what is used up lately is all that stays`() async throws {
        try await MessagesStack.with { stack in
            let before = try await stack.now
            #expect(try await searches(limiter(stack), by: "ann"))
            let after = try await stack.now
            let end = try await stack.run("GET", "limit:search:ann").string.flatMap { Int64($0) } ?? 0
            #expect((before * 1000...(after + 1) * 1000).contains(end - 86_400_000_000))
            let life = try await stack.run("PTTL", "limit:search:ann").integer ?? 0
            #expect((1...86_400_000).contains(life))
        }
    }

    @Test func `of several limits in one call nothing is taken unless all allow it`() async throws {
        try await MessagesStack.with { stack in
            let (limiter, other) = (limiter(stack), limiter(stack))
            let both: [RateLimiter.Demand] = [
                .init(activity: .guess, subject: "x"), .init(activity: .account, subject: "x"),
            ]
            for _ in 0..<4 { #expect(await limiter.ask(both) == 0) }
            for _ in 0..<10 { #expect(await limiter.ask(both) ?? 0 > 0) }
            // Two of six are left of the account.
            let account = [RateLimiter.Demand(activity: .account, subject: "x")]
            for expected in [true, true, false] { #expect((await other.ask(account) == 0) == expected) }
        }
    }

    @Test func `of what is frequent Redis is told in chunks, and what is sent elsewhere counts`() async throws {
        try await MessagesStack.with { stack in
            let (one, other) = (limiter(stack), limiter(stack))
            let (here, there) = (one.allowance(of: "ann"), other.allowance(of: "ann"))
            let calls = try await calls(stack)
            for _ in 0..<1008 { #expect(one.take(.send, of: here) == 0) }
            let isTold = try await eventually {
                let end = try await stack.run("GET", "limit:send:ann").string.flatMap { Int64($0) } ?? 0
                return try await (end - stack.now * 1000) / 86_400_000_000 >= 1007
            }
            #expect(isTold)
            #expect(try await self.calls(stack) - calls == 1008 / 16)
            var passed = 0
            while other.take(.send, of: there) == 0 {
                passed += 1
                try #require(passed < 1024, "the other gateway does not know")
                try await Task.sleep(for: .milliseconds(10))
            }
            #expect(passed >= 16)
        }
    }

    private func calls(_ stack: MessagesStack) async throws -> Int {
        let statistics = try await stack.run("INFO", "commandstats").string ?? ""
        let line = statistics.split(whereSeparator: \.isNewline).first { $0.hasPrefix("cmdstat_fcall:") }
        return line?.split(separator: ",").first?.split(separator: "=").last.flatMap { Int($0) } ?? 0
    }

    @Test func `an account cannot be guessed from many addresses, nor its owner locked out`() async throws {
        try await MessagesStack.with { stack in
            let limiters = [limiter(stack), limiter(stack)]
            func tries(_ account: String, _ address: String) async throws -> Bool {
                try await passes { try await limiters.randomElement()!.requireLogin(to: account, from: address) }
            }
            await limiters[0].remember("192.0.2.1", asKnownTo: "ann")
            var guesses = 0
            for number in 0..<20 where try await tries("ann", "198.51.100.\(number)") { guesses += 1 }
            #expect(guesses == 6)
            #expect(try await tries("ann", "192.0.2.1"), "the owner comes from where they have been before")
            var fromOne = 0
            for _ in 0..<20 where try await tries("nobody", "203.0.113.1") { fromOne += 1 }
            #expect(fromOne == 4, "one address guesses less, and an unknown name is like a known one")
        }
    }
}
