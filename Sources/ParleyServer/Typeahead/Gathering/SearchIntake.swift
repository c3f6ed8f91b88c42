import ParleyWire
import RedisClient
import Synchronization

/// Takes submitted searches into the stream: one command of Redis, for those who are listened to.
final class SearchIntake: Sendable {
    private let redis: RedisClient
    private let pseudonyms: SearchPseudonyms
    private let sampling: UInt64
    private let taken = Atomic<Int>(0)

    /// - Parameter sampling: of so many users one is listened to.
    init(redis: RedisClient, pseudonyms: SearchPseudonyms, sampling: Int) {
        self.redis = redis
        self.pseudonyms = pseudonyms
        self.sampling = UInt64(sampling)
    }

    /// Searches that went into the stream.
    var count: Int { taken.load(ordering: .relaxed) }

    /// - Parameter user: nil for somebody who is not signed in.
    /// - Throws: where Redis does not take it now; nobody waits for it to come back.
    func take(_ text: String, locale: String, by user: UserID?) async throws(RedisError) {
        let pseudonym = user.map(pseudonyms.pseudonym)
        // The same users all the time, whichever gateway they use: else each would be one of a query's distinct users
        // only now and then. Who is not signed in is nobody twice.
        let lot = pseudonym?.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } ?? .random(in: 0...(.max))
        guard lot % sampling == 0 else { return }
        let place = pseudonym.map { Int($0[8]) } ?? .random(in: 0...255)
        let entry = SearchEntry(text: text, locale: locale, user: pseudonym, weight: Int64(sampling))
        let shard = SearchShard(number: place % SearchShard.count)
        let reply = try await redis.sendIfReady(entry.command(for: shard))
        if case .error(let error) = reply { throw RedisError.server(error) }
        taken.add(1, ordering: .relaxed)
    }
}
