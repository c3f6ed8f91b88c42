import Foundation
public import NIOCore
public import ParleyWire

/// A signed-in device that stays connected: comes back by itself with full jitter, resumes where it was, reads from
/// history what its queue no longer tells, repeats unanswered sends with their first cid, acknowledges what was handled,
/// drops repeats, refreshes its token once.
///
/// Lives on the event loop of its sockets. End it with ``close()``.
public actor ParleySession {
    /// What a session tells, in order.
    public enum Update: Sendable, Hashable {
        /// Signed in.
        case ready(ServerFrame.Ready)
        /// All conversations of the user as they are now: the device is new, or was away for more than its queue tells.
        /// Others are the user's no more, and messages that were kept may have been edited or deleted. A device that is
        /// not new gets the ``history(_:_:known:)`` of each; ``live(q:)`` ends it.
        case resync([ConversationEntry])
        /// Entries of a conversation as they are now, oldest first, in as many parts as it takes: the last 200 messages
        /// up to the seq `known`, which this device was told of before, and all behind them, which it missed.
        case history(ConversationID, [HistoryMessage], known: Int64)
        /// A durable event: once each, in the order of the queue.
        case event(q: Int64, Event)
        /// What was missed is told.
        case live(q: Int64)
        /// Anything without a place in the queue: presence, typing, receipts of groups.
        case ephemeral(ServerFrame.Operation)
        /// The connection ended; another attempt follows unless the stream ends.
        case disconnected(code: UInt16?, reason: String)
    }

    public struct Configuration: Sendable {
        /// One or more, to begin with: any of them tells where the others are. A session remembers those, and comes back to
        /// these where none of them answers.
        public var gateways: [GatewayAddress]
        /// Whose gateways are preferred; nil for no preference.
        public var zone: String?
        public var device: DeviceID
        public var ephemeral = false
        /// Where to resume: the cursor of an earlier session of this device. nil starts at the head.
        public var resume: ClientFrame.Cursor?
        /// With `resume`, of each conversation that the device has something of, the seq of its last message. A resync
        /// reads conversations that are not in it from their beginning.
        public var known: [ConversationID: Int64] = [:]
        /// How long handled events wait for a common acknowledgement; at most a second.
        public var acknowledgeWithin: TimeAmount = .milliseconds(500)
        public var backoff = Backoff()

        public init(gateways: [GatewayAddress], device: DeviceID) {
            self.gateways = gateways
            self.device = device
        }
    }

    /// Ends when the session does: closed, replaced by the same device, or told not to come back. One consumer.
    public nonisolated let updates: AsyncStream<Update>
    public nonisolated let unownedExecutor: UnownedSerialExecutor
    /// With the tokens as last refreshed.
    public internal(set) var account: Account

    let configuration: Configuration
    let eventLoop: any EventLoop
    let continuation: AsyncStream<Update>.Continuation
    var state: SessionState
    var backoff: Backoff
    var socket: ParleySocket?
    /// That of `socket`.
    var gateway: GatewayAddress?
    /// Signed in, on `socket`.
    var isReady = false
    /// Connected and on its way to replace `socket`.
    var candidate: ParleySocket?
    /// That of the last attempt.
    var candidateGateway: GatewayAddress?
    var isConnecting = false
    var directory: GatewayDirectory
    /// The gateway asked this session to go.
    var departure: ServerFrame.GoAway?
    /// Of the next attempt.
    var retry: Scheduled<Void>?
    var readyDeadline: Scheduled<Void>?
    var readySince = NIODeadline.uptimeNanoseconds(0)
    var clockOffset: Int64 = 0
    var didRefresh = false
    var renewal: Task<Result<Account, ClientError>, Never>?
    /// How many resyncs have begun: the last is the one that counts.
    var resyncs = 0
    var isAckScheduled = false
    var isClosed = false
    var waiting: [ClientMessageID: CheckedContinuation<Result<ServerFrame.Sent, ClientError>, Never>] = [:]

    /// Begins to connect at once.
    public init(_ configuration: Configuration, account: Account, group: any EventLoopGroup) {
        precondition(!configuration.gateways.isEmpty, "a session needs a gateway")
        self.configuration = configuration
        self.account = account
        eventLoop = group.next()
        unownedExecutor = eventLoop.executor.asUnownedSerialExecutor()
        (updates, continuation) = AsyncStream.makeStream()
        state = SessionState(resume: configuration.resume, known: configuration.known)
        backoff = configuration.backoff
        directory = GatewayDirectory(seeds: configuration.gateways)
        Task { await connect() }
    }

    /// Up to where everything was told. During a resync it is that of before.
    public var cursor: ClientFrame.Cursor? { state.cursor }

    /// Sends a frame that has no answer if the session is signed in now; otherwise it is dropped.
    public func send(_ frame: ClientFrame) {
        if isReady { socket?.send(frame) }
    }

    /// Acknowledges what was handled and leaves for good: presence ends at once.
    public func close() {
        acknowledge()
        socket?.close(.normal)
        finish(ClientError(.closed, "the session was closed"))
    }

    /// Breaks the connection as a network would; the session comes back.
    public func breakConnection() {
        socket?.abort()
    }

    static func now() -> Int64 { Int64(Date().timeIntervalSince1970 * 1000) }

    func finish(_ error: ClientError) {
        guard !isClosed else { return }
        isClosed = true
        isReady = false
        candidate?.abort()
        retry?.cancel()
        readyDeadline?.cancel()
        for continuation in waiting.values { continuation.resume(returning: .failure(error)) }
        waiting = [:]
        continuation.finish()
    }
}
