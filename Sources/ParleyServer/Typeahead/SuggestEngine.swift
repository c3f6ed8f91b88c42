import Logging
import NIOCore
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient

/// Answers prefixes, on one event loop: from its cache; else from Redis, asked once for all who ask the same; else from
/// PostgreSQL, which Redis is filled from again. An answer is of one generation throughout.
///
/// All state is touched on `eventLoop` only, which is what makes the class safe to pass around.
final class SuggestEngine: @unchecked Sendable {
    typealias Completion = (Result<RankedList, HTTPProblem>) -> Void

    private struct Key: Hashable {
        let generation: Int32
        /// The prefix as it is looked up, with NUL between several forms.
        let prefix: [UInt8]
    }

    /// A prefix that is being looked up, and who waits for it.
    private final class Flight {
        let generation: SuggestGeneration
        let keys: [[UInt8]]
        let begun = NIODeadline.now()
        var waiters: [Completion] = []
        /// By key; nil until it has come.
        var found: [[SuggestEntry]?]
        /// Redis was given up on, or has not got it.
        var isFromPostgres = false

        init(_ generation: SuggestGeneration, _ keys: [[UInt8]]) {
            self.generation = generation
            self.keys = keys
            found = Array(repeating: nil, count: keys.count)
        }
    }

    private struct Shard: Hashable {
        let generation: Int32
        let number: Int
    }

    let eventLoop: any EventLoop
    let configuration: SuggestConfiguration
    let metrics = SuggestMetrics()
    private let connections: [RedisConnection]
    private let filler: ShardFiller
    private let logger: Logger
    private var nextConnection = 0

    /// What is in force, and what may not be suggested.
    private(set) var lists: [SuggestLocale: SuggestGeneration] = [:]
    private(set) var filter = SuggestFilter()

    /// As a header; private where it was asked for with a sign-in.
    let cacheControl: String
    private var clock = HTTPDate()
    /// Now, as a header.
    var date: ByteBuffer { clock.now() }
    /// For the beginning of a body, whose length comes before it.
    var scratch = ByteBuffer()
    /// The last tag that was made, and what for.
    private var lastTag: (generation: Int32, filter: Int64, format: SuggestQuestion.Format, tag: String)?

    private var cache: RecentTable<Key, RankedList>
    private var flights: [Key: Flight] = [:]
    /// Shards that Redis lacks and that are being filled.
    private var missing: Set<Shard> = []
    private var patrol: RepeatedTask?
    /// Look-ups that wait for their turn at PostgreSQL, and how many have it.
    private var queue = CircularBuffer<Key>()
    private var asking = 0

    /// How long Redis may take before PostgreSQL is asked.
    private static let patience = TimeAmount.milliseconds(250)
    /// How long a look-up may take in all.
    private static let limit = TimeAmount.seconds(5)
    private static let postgresPatience = Duration.seconds(2)
    /// Look-ups at PostgreSQL at a time: the pool is everybody's.
    private static let width = 4
    /// Before a shard is tried again whose filling failed, or is done by another process.
    private static let pause = TimeAmount.milliseconds(500)

    init(
        eventLoop: any EventLoop,
        configuration: SuggestConfiguration,
        redis: RedisClient,
        postgres: PostgresPool,
        logger: Logger
    ) {
        self.eventLoop = eventLoop
        self.configuration = configuration
        connections = redis.connections(on: eventLoop)
        filler = ShardFiller(store: SuggestStore(postgres: postgres), redis: redis)
        self.logger = logger
        // A table keeps up to twice its capacity.
        cache = RecentTable(capacity: configuration.cacheEntries / 2)
        let scope = configuration.access == .everybody ? "public" : "private"
        cacheControl = "\(scope), max-age=\(configuration.maxAge)"
    }

    func start() {
        eventLoop.execute {
            self.patrol = self.eventLoop.scheduleRepeatedTask(
                initialDelay: .milliseconds(100),
                delay: .milliseconds(100)
            ) { _ in self.lookAfterTheSlow() }
        }
    }

    func close() async {
        let patrol = try? await eventLoop.submit { self.patrol }.get()
        patrol?.cancel()
    }

    // MARK: On the event loop

    func adopt(_ lists: [SuggestLocale: SuggestGeneration]) { self.lists = lists }
    func adopt(_ filter: SuggestFilter) { self.filter = filter }

    /// The list for a locale; nil where there is none for anybody.
    func list(for locale: SuggestLocale) -> SuggestGeneration? {
        if let list = lists[locale] { return list }
        return locale.chain.dropFirst().lazy.compactMap { self.lists[$0] }.first
    }

    /// Says what an answer depends on besides its URL: two that are the same are answered alike.
    func tag(_ list: SuggestGeneration?, _ format: SuggestQuestion.Format) -> String {
        let generation = list?.id ?? 0
        if let last = lastTag, last.generation == generation, last.filter == filter.version, last.format == format {
            return last.tag
        }
        let tag = "\"\(generation)-\(filter.version)\(format == .json ? "" : "-x")\""
        lastTag = (generation, filter.version, format, tag)
        return tag
    }

    /// The completions of a prefix.
    ///
    /// - Parameter completion: called at once for what is known, later for what is looked up, and never twice.
    /// - Throws: `SuggestText.Problem` for what is no prefix; then nothing is called.
    func complete(_ text: [UInt8], in list: SuggestGeneration, _ completion: @escaping Completion)
        throws(SuggestText.Problem)
    {
        if let known = try known(text, in: list) { return completion(.success(known)) }
        let keys = try SuggestKeys(list.locale).lookup(text).keys
        let key = Self.key(list, keys)
        if let flight = flights[key] {
            metrics.count(.joined)
            flight.waiters.append(completion)
            return
        }
        let flight = Flight(list, keys)
        flight.waiters = [completion]
        flights[key] = flight
        askRedis(key, flight)
    }

    /// The completions of a prefix if they are in the cache.
    func known(_ text: [UInt8], in list: SuggestGeneration) throws(SuggestText.Problem) -> RankedList? {
        let keys = try SuggestKeys(list.locale).lookup(text).keys
        guard !keys.isEmpty else {
            metrics.count(.cache)
            return RankedList(generation: list, completions: [])
        }
        let known = cache.value(for: Self.key(list, keys))
        if known != nil { metrics.count(.cache) }
        return known
    }

    private static func key(_ list: SuggestGeneration, _ keys: [[UInt8]]) -> Key {
        Key(generation: list.id, prefix: keys.count == 1 ? keys[0] : Array(keys.joined(separator: [0])))
    }

    // MARK: Redis

    private func askRedis(_ key: Key, _ flight: Flight) {
        guard let connection = freeConnection(),
            !flight.keys.contains(where: { missing.contains(shard(of: $0, flight)) })
        else { return askPostgres(key, flight) }
        for (index, prefix) in flight.keys.enumerated() {
            let shard = shard(of: prefix, flight)
            let keys = flight.generation.keys(shard.number)
            var command = RedisCommand.Builder(argumentCount: 8)
            command.append(Self.readCommand)
            command.append(keys.ready)
            command.append(keys.prefix(prefix))
            command.append(keys.entries)
            command.append(ByteBuffer(bytes: prefix))
            command.append(Self.widthText)
            connection.send(command.command, repeatable: true) { result in
                self.redisAnswered(result, shard, index, key, flight)
            }
        }
    }

    private static let readCommand = RedisCommand.Fragment([
        "FCALL_RO", RedisFunctions.library.function("suggest_read"), "3",
    ])
    private static let widthText = String(SuggestIndex.width)

    private func shard(of prefix: [UInt8], _ flight: Flight) -> Shard {
        Shard(generation: flight.generation.id, number: flight.generation.map.shard(of: prefix))
    }

    /// One that answers; nil where none does.
    private func freeConnection() -> RedisConnection? {
        nextConnection &+= 1
        for offset in 0..<connections.count {
            let connection = connections[(nextConnection &+ offset) % connections.count]
            if connection.isReady, connection.delay < Self.patience { return connection }
        }
        return nil
    }

    private func redisAnswered(
        _ result: Result<RESPValue, RedisError>,
        _ shard: Shard,
        _ index: Int,
        _ key: Key,
        _ flight: Flight
    ) {
        guard flights[key] === flight, !flight.isFromPostgres else { return }
        switch result {
        case .success(.array(let words)):
            flight.found[index] = Self.entries(words)
            if flight.found.allSatisfy({ $0 != nil }) { finish(key, flight, .redis) }
        case .success:
            refill(shard, flight.generation)
            askPostgres(key, flight)
        case .failure:
            askPostgres(key, flight)
        }
    }

    /// As `suggest_read` answers.
    private static func entries(_ words: [RESPValue]) -> [SuggestEntry] {
        guard words.first?.integer == 1 else {
            let found = words.dropFirst().compactMap { $0.bytes.flatMap { SuggestMember.read($0.readableBytesView) } }
            return found.sorted { $0.weight > $1.weight }
        }
        return stride(from: 1, to: words.count - 1, by: 2).compactMap { at in
            guard let display = words[at].string, let weight = words[at + 1].string.flatMap(Double.init) else {
                return nil
            }
            return SuggestEntry(display: display, weight: weight)
        }
    }

    // MARK: PostgreSQL

    private func askPostgres(_ key: Key, _ flight: Flight) {
        guard !flight.isFromPostgres else { return }
        flight.isFromPostgres = true
        queue.append(key)
        askNext()
    }

    private func askNext() {
        while asking < Self.width, let key = queue.popFirst() {
            guard let flight = flights[key], flight.isFromPostgres else { continue }
            asking += 1
            let (store, generation, keys) = (filler.store, flight.generation, flight.keys)
            Task {
                var found: [[SuggestEntry]] = []
                var failure: PostgresError?
                for prefix in keys {
                    do throws(PostgresError) {
                        found.append(
                            try await store.completions(of: prefix, in: generation, timeout: Self.postgresPatience)
                        )
                    } catch {
                        failure = error
                        break
                    }
                }
                let outcome: Result<[[SuggestEntry]], PostgresError> = failure.map { .failure($0) } ?? .success(found)
                self.eventLoop.execute { self.postgresAnswered(outcome, key) }
            }
        }
    }

    private func postgresAnswered(_ outcome: Result<[[SuggestEntry]], PostgresError>, _ key: Key) {
        asking -= 1
        defer { askNext() }
        guard let flight = flights[key] else { return }
        switch outcome {
        case .success(let found):
            flight.found = found
            finish(key, flight, .postgres)
        case .failure(let error):
            logger.warning("suggestions could not be looked up", metadata: ["error": "\(error)"])
            fail(key, flight)
        }
    }

    private func refill(_ shard: Shard, _ generation: SuggestGeneration) {
        guard missing.insert(shard).inserted else { return }
        metrics.count(.refill)
        logger.notice(
            "a list of suggestions is filled into Redis again",
            metadata: ["locale": "\(generation.locale)", "generation": "\(generation.id)", "shard": "\(shard.number)"]
        )
        let (filler, logger) = (filler, logger)
        Task {
            var pause = TimeAmount.zero
            do {
                if try await filler.fill(generation, shard.number) != .filled { pause = Self.pause }
            } catch {
                logger.warning("a list of suggestions was not filled", metadata: ["error": "\(error)"])
                pause = Self.pause
            }
            self.eventLoop.scheduleTask(in: pause) { self.isThere(shard) }
        }
    }

    /// Redis may have the shard: those who still wait for PostgreSQL ask it.
    private func isThere(_ shard: Shard) {
        missing.remove(shard)
        let waiting = queue
        queue.removeAll()
        for key in waiting {
            guard let flight = flights[key] else { continue }
            flight.isFromPostgres = false
            askRedis(key, flight)
        }
    }

    // MARK: The end of a look-up

    private func finish(_ key: Key, _ flight: Flight, _ source: SuggestMetrics.Source) {
        flights[key] = nil
        metrics.count(source)
        // Two keys may have found the same; the first one's place counts.
        var seen: Set<String> = []
        var ranked: [SuggestEntry] = []
        for entry in flight.found.compactMap(\.self).joined() where ranked.count < SuggestIndex.width {
            if seen.insert(entry.display).inserted { ranked.append(entry) }
        }
        let list = RankedList(generation: flight.generation, completions: ranked)
        cache.set(list, for: key)
        for waiter in flight.waiters { waiter(.success(list)) }
    }

    private func fail(_ key: Key, _ flight: Flight) {
        flights[key] = nil
        metrics.count(.unavailable)
        let problem = HTTPProblem(.unavailable, "There are no suggestions now.")
        for waiter in flight.waiters { waiter(.failure(problem)) }
    }

    private func lookAfterTheSlow() {
        let now = NIODeadline.now()
        for (key, flight) in flights {
            if flight.begun + Self.limit <= now {
                fail(key, flight)
            } else if !flight.isFromPostgres, flight.begun + Self.patience <= now {
                askPostgres(key, flight)
            }
        }
    }
}
