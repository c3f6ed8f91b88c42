import NIOCore
import ParleyCore
import ParleyWire
import RedisClient
import Synchronization

/// How much a user, an address or an account may do.
///
/// What a gateway knows decides first, and alone while Redis is away or slow. What is rare and costly (to sign up, in, to
/// search, to ask somebody) is asked of Redis each time, for all gateways together. Of what is frequent Redis is told in
/// chunks, and only of whom is quick: a send costs no command of its own.
final class RateLimiter: Sendable {
    /// Something that is limited, by whose limit.
    struct Demand: Sendable {
        let activity: Activity
        let subject: String
    }

    /// How long Redis may take before the gateway decides for itself.
    private let patience: TimeAmount
    /// For how long an address from which somebody signed in is known to their account, in seconds.
    private static let memory = 30 * 86_400
    /// Subjects that are remembered in one generation.
    private static let capacity = 30_000

    private let limits: [Activity: RateLimit]
    private let redis: RedisClient
    private let allowances = Mutex(RecentTable<String, Allowance>(capacity: capacity))

    init(limits: [Activity: RateLimit], redis: RedisClient, patience: TimeAmount = .milliseconds(250)) {
        self.limits = limits
        self.redis = redis
        self.patience = patience
    }

    /// A session keeps its user's.
    func allowance(of subject: String) -> Allowance {
        allowances.withLock { $0.value(for: subject) { Allowance(subject: subject) } }
    }

    // MARK: What is frequent

    /// Decides here.
    ///
    /// - Returns: for how long to wait, in microseconds; 0 where it may happen.
    func take(_ activity: Activity, of allowance: Allowance) -> Int64 {
        guard let limit = limits[activity] else { return 0 }
        let taken = allowance.take(activity, of: limit, at: Admission.now())
        if taken.told > 0 { tell(activity, of: allowance, taken.told, limit) }
        return taken.wait
    }

    /// As `take`.
    ///
    /// - Throws: `rate_limited`.
    func require(here demand: Demand) throws(HTTPProblem) {
        let wait = take(demand.activity, of: allowance(of: demand.subject))
        if wait > 0 { throw Self.refusal(wait) }
    }

    private func tell(_ activity: Activity, of allowance: Allowance, _ count: Int64, _ limit: RateLimit) {
        let demand = Demand(activity: activity, subject: allowance.subject)
        Task {
            guard let wait = await ask([demand], charging: count), wait > 0 else { return }
            allowance.pause(activity, for: wait, of: limit, at: Admission.now())
        }
    }

    // MARK: What is costly

    /// - Throws: `rate_limited`, naming when to try again.
    func require(_ demands: [Demand]) async throws(HTTPProblem) {
        for demand in demands { try takeHere(demand) }
        try await takeEverywhere(demands)
    }

    private func takeEverywhere(_ demands: [Demand]) async throws(HTTPProblem) {
        if let wait = await ask(demands), wait > 0 { throw Self.refusal(wait) }
    }

    /// Somebody tries a password. An account has a slow allowance for the whole world, so that many addresses do not
    /// guess it, and another for each address. Those from which its owner has signed in before need only the latter:
    /// who spends the account's allowance does not lock the owner out.
    ///
    /// - Throws: `rate_limited`. It says nothing of whether there is such an account.
    func requireLogin(to account: String?, from address: String) async throws(HTTPProblem) {
        var demands = [Demand(activity: .login, subject: address)]
        if let account { demands.append(Demand(activity: .guess, subject: "\(account)@\(address)")) }
        for demand in demands { try takeHere(demand) }
        if let account, await answer(to: RedisCommand("EXISTS", Self.known(account, address)))?.integer != 1 {
            let demand = Demand(activity: .account, subject: account)
            try takeHere(demand)
            demands.append(demand)
        }
        try await takeEverywhere(demands)
    }

    /// The password was right.
    func remember(_ address: String, asKnownTo account: String) async {
        _ = await answer(to: RedisCommand("SET", Self.known(account, address), "1", "EX", String(Self.memory)))
    }

    private static func known(_ account: String, _ address: String) -> String { "known:\(account)@\(address)" }

    /// Redis is about to be asked: it needs not to be told.
    private func takeHere(_ demand: Demand) throws(HTTPProblem) {
        guard let limit = limits[demand.activity] else { return }
        let wait = allowance(of: demand.subject).take(demand.activity, of: limit, at: Admission.now()).wait
        if wait > 0 { throw Self.refusal(wait) }
    }

    private static func refusal(_ wait: Int64) -> HTTPProblem {
        HTTPProblem(.rateLimited, "Too many of these requests.", retryMilliseconds: Int((wait + 999) / 1000))
    }

    // MARK: Redis

    /// - Parameter charging: takes so many whatever the answer is; without it one, if all demands allow it.
    /// - Returns: how many microseconds to wait; nil where Redis does not say.
    func ask(_ demands: [Demand], charging: Int64? = nil) async -> Int64? {
        var keys: [String] = []
        var arguments = [charging == nil ? "take" : "charge"]
        for demand in demands {
            guard let limit = limits[demand.activity] else { continue }
            keys.append("limit:\(demand.activity.rawValue):\(demand.subject)")
            arguments += [String(limit.interval), String(limit.burst), String(charging ?? 1)]
        }
        guard !keys.isEmpty else { return 0 }
        return await answer(to: RedisFunctions.call("limit", keys: keys, arguments))?.integer
    }

    /// nil where it does not come in time.
    private func answer(to command: RedisCommand) async -> RESPValue? {
        guard let connection = redis.connections.randomElement() else { return nil }
        let promise = connection.eventLoop.makePromise(of: RESPValue?.self)
        connection.eventLoop.execute { [patience] in
            let limit = connection.eventLoop.assumeIsolated().scheduleTask(in: patience) { promise.succeed(nil) }
            connection.send(command) { result in
                limit.cancel()
                promise.succeed(try? result.get())
            }
        }
        return try? await promise.futureResult.get()
    }
}
