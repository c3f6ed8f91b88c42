import Logging
import NIOHTTP1
import ParleyWire
import RedisClient
import Synchronization

/// What all sessions of a gateway share.
final class GatewayServices: Sendable {
    let configuration: GatewayConfiguration
    let commit: CommitConfiguration
    let redis: RedisClient
    let epochs: EpochKeeper
    let conversations: ConversationStore
    let history: History
    let fanOut: FanOut
    let groupReceipts: GroupReceipts
    let tokens: AccessTokens
    let acknowledger: Acknowledger
    let origins: OriginList
    let registry: GatewayRegistry
    let presence: Presence
    let logger: Logger
    let http = HTTPMetrics()

    private let sessions = Atomic<Int>(0)
    private let draining = Atomic<Bool>(false)
    private let backlogged = Atomic<Bool>(false)

    init(
        configuration: GatewayConfiguration,
        commit: CommitConfiguration,
        redis: RedisClient,
        epochs: EpochKeeper,
        conversations: ConversationStore,
        history: History,
        fanOut: FanOut,
        tokens: AccessTokens,
        acknowledger: Acknowledger,
        origins: OriginList,
        registry: GatewayRegistry,
        presence: Presence,
        logger: Logger
    ) {
        self.configuration = configuration
        self.commit = commit
        self.redis = redis
        self.epochs = epochs
        self.conversations = conversations
        self.history = history
        self.fanOut = fanOut
        groupReceipts = GroupReceipts(redis: redis, epochs: epochs)
        self.tokens = tokens
        self.acknowledger = acknowledger
        self.origins = origins
        self.registry = registry
        self.presence = presence
        self.logger = logger
    }

    /// Sockets, and polls that wait.
    var sessionCount: Int { sessions.load(ordering: .relaxed) }
    func sessionBegan() { sessions.add(1, ordering: .relaxed) }
    func sessionEnded() { sessions.subtract(1, ordering: .relaxed) }
    var isFull: Bool { sessionCount >= configuration.capacity }

    /// Where a client of this gateway can go instead.
    var alternative: String? {
        var generator = SystemRandomNumberGenerator()
        let others = registry.entries.filter { $0.name != configuration.name }
        return GatewayChoice.order(others, zone: configuration.zone, using: &generator).first?.url
    }

    /// Set once, at the begin of the drain: no new sessions.
    var isDraining: Bool { draining.load(ordering: .relaxed) }
    func beginDrain() { draining.store(true, ordering: .relaxed) }

    /// Too much waits for the archive: no sends for now.
    var isBacklogged: Bool { backlogged.load(ordering: .relaxed) }
    func setBacklogged(_ value: Bool) { backlogged.store(value, ordering: .relaxed) }

    var upgradeCheck: UpgradeCheck {
        UpgradeCheck(
            origins: origins,
            isFull: isDraining || isFull,
            servesSockets: configuration.serves != .api
        )
    }

    /// - Returns: the headers of the 101 answer besides those of RFC 6455.
    /// - Throws: `UpgradeCheck.Refusal`.
    func checkUpgrade(_ head: HTTPRequestHead) throws(UpgradeCheck.Refusal) -> HTTPHeaders {
        guard head.method == .GET, head.uri.prefix(while: { $0 != "?" }) == UpgradeCheck.path else {
            throw UpgradeCheck.Refusal(status: 404, code: .notFound, detail: "There is no socket here.")
        }
        return try upgradeCheck.check(head.headers)
    }

    /// Redis showed another epoch than the known one: learn it, and tell every session.
    func learnEpoch() {
        Task {
            do {
                try await epochs.verify { [redis] in try await redis.send($0) }
            } catch {
                logger.warning("epoch not verified", metadata: ["error": "\(error)"])
            }
        }
    }

    /// Finishes a fan-out; should that fail, a worker does it.
    func deliverLater(_ conversation: ConversationID, _ pending: PendingDelivery) {
        Task { await fanOut.finish(conversation, pending) }
    }
}
