import Logging
import NIOCore
import NIOHTTP1
import ParleyCore
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
    let admission: Admission
    /// nil where none are served.
    let suggest: SuggestHub?
    let logger: Logger
    let http = HTTPMetrics()

    private let sessions = Atomic<Int>(0)
    private let draining = Atomic<Bool>(false)
    private let backlog = Atomic<Int>(0)
    private let reach: Mutex<Isolation>

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
        admission: Admission = Admission(.off),
        suggest: SuggestHub? = nil,
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
        self.admission = admission
        self.suggest = suggest
        self.logger = logger
        let window = configuration.drainWindow.nanoseconds / 1_000_000
        reach = Mutex(Isolation(window: window, now: Self.steadyMilliseconds()))
    }

    /// What this process refused.
    var refusals: Refusals { admission.refusals }

    /// Sockets, and polls that wait.
    var sessionCount: Int { sessions.load(ordering: .relaxed) }
    func sessionBegan() { sessions.add(1, ordering: .relaxed) }
    func sessionEnded() { sessions.subtract(1, ordering: .relaxed) }
    var isFull: Bool { sessionCount >= configuration.capacity }

    /// The other gateways that take sessions, as they were last seen.
    var otherGateways: [GatewayEntry] { registry.entries.filter { $0.name != configuration.name && $0.spare > 0 } }

    /// Where a client of this gateway can go instead.
    var alternative: String? { choice(of: otherGateways) }

    func choice(of gateways: [GatewayEntry]) -> String? {
        var generator = SystemRandomNumberGenerator()
        return GatewayChoice.best(of: gateways, zone: configuration.zone, using: &generator)?.url
    }

    /// What this gateway knows of its link to Redis; its clock is NIO's.
    var isolation: Isolation { reach.withLock { $0 } }
    /// Redis has not answered for a while: no new sessions.
    var isCutOff: Bool { isolation.isCutOff(at: Self.steadyMilliseconds()) }
    func redisAnswered() { reach.withLock { $0.answered(at: Self.steadyMilliseconds()) } }
    func redisFailed() { reach.withLock { $0.failed() } }

    static func steadyMilliseconds() -> Int64 { Int64(NIODeadline.now().uptimeNanoseconds / 1_000_000) }

    /// Set once, at the begin of the drain: no new sessions.
    var isDraining: Bool { draining.load(ordering: .relaxed) }
    func beginDrain() { draining.store(true, ordering: .relaxed) }

    /// Too much waits for the archive: no sends for now.
    var isBacklogged: Bool { backlog.load(ordering: .relaxed) > configuration.backlogLimit }
    /// Of what may wait.
    var backlogShare: Double { Double(backlog.load(ordering: .relaxed)) / Double(configuration.backlogLimit) }
    func setBacklog(_ entries: Int) { backlog.store(entries, ordering: .relaxed) }

    var upgradeCheck: UpgradeCheck {
        UpgradeCheck(
            origins: origins,
            isFull: isDraining || isFull || isCutOff,
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
                try await epochs.verify(on: redis)
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
