import Logging
import NIOCore
import NIOExtras
import ParleyCore
import ParleyWire
import RedisClient

/// One client's socket: the last handler of its channel, confined to the channel's event loop.
///
/// This file holds the session's life: bytes in, frames out, heartbeat, close. What becomes of a frame that comes in is in
/// Session+Frames.swift, what it does with its sync queue in Session+Sync.swift, with sends in Session+Send.swift, what is
/// different in groups in Session+Groups.swift, and how it leaves a gateway that ends in Session+Departure.swift.
final class Session: ChannelInboundHandler, QueueReader, @unchecked Sendable {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Stage {
        /// Waiting for `auth`.
        case strange
        /// Subscribing and asking where the queue stands.
        case attaching
        case attached
        /// A close frame went out; what comes in is thrown away.
        case closing
    }

    let hub: SessionHub
    let services: GatewayServices
    private(set) var id: ID = 0
    private(set) var slot = 0
    /// Names this session for the client and in logs.
    let name = randomName()

    var stage = Stage.strange {
        didSet { metrics.stageChanged(from: oldValue, to: stage) }
    }
    var identity: Identity?
    var device: DeviceID?
    var isEphemeral = false
    /// Of the queue that `sync` counts in.
    var epoch = ""
    var sync: SyncState?
    var acks = AckState(cursor: 0)
    var sends = SendQueue<PendingSend>()
    var groupFlights: [ConversationID: GroupFlight] = [:]
    /// The highest position published while the session was attaching.
    var publishedEarly: Int64 = 0
    /// Its own `attach` came round: a later one of the same device replaces this session.
    var sawOwnAttach = false
    /// It is one of the few that begin at the same time.
    var isBeginning = false
    var stalledTurns = 0
    /// It holds a lease of its user's presence.
    var isPresent = false
    var lastActive: NIODeadline = .distantPast
    /// Questions to Redis that have no bound of their own and are not answered yet.
    var unansweredCalls = 0

    private let visit: Visit?
    /// Its user's, once that is known; nil where nothing is limited.
    private(set) var allowance: Allowance?
    private var decoder: WebSocketDecoder
    private var context: ChannelHandlerContext?
    private var life = Heartbeat()
    private var deadline: Scheduled<Void>?
    var badFrames = 0
    var isLeaving = false
    private var isFlushPending = false
    /// When the frames came that are being handled.
    private(set) var readTime = NIODeadline.now()
    var lastTyping: NIODeadline = .distantPast
    var lastPlace: NIODeadline = .now()

    /// A third of the time for which Redis takes a silent socket to be there.
    static let placePause = TimeAmount.minutes(5)

    private static let closePatience = TimeAmount.seconds(2)
    private static let ping = {
        var buffer = ByteBuffer()
        WebSocketFrame.write(.ping, into: &buffer)
        return buffer
    }()

    init(hub: SessionHub, services: GatewayServices, visit: Visit?) {
        self.hub = hub
        self.services = services
        self.visit = visit
        let (limits, most) = (services.admission.configuration, services.configuration.maximumFrame)
        decoder = WebSocketDecoder(role: .server, maxMessageBytes: limits.isOn ? limits.firstFrame : most)
    }

    /// Whether the socket takes more for now, as its channel last said.
    private(set) var isWritable = false
    /// There is no socket any more, whatever the stage.
    var hasEnded: Bool { context == nil }
    var eventLoop: any EventLoop { hub.eventLoop }
    var metrics: SocketMetrics { hub.metrics }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        isWritable = context.channel.isWritable
        services.sessionBegan()
        metrics.socketOpened()
        if !isWritable { metrics.writabilityChanged(false) }
        (id, slot) = hub.add(self)
        deadline = eventLoop.assumeIsolated().scheduleTask(in: services.configuration.authenticationDeadline) {
            if self.stage == .strange { self.close(.unauthorized, "no auth in time") }
        }
        if services.isDraining { drain() }
    }

    func handlerRemoved(context: ChannelHandlerContext) { ended() }

    func channelInactive(context: ChannelHandlerContext) { ended() }

    private func ended() {
        guard context != nil else { return }
        passOnAcks()
        tellPlace(0, ended: true)
        leavePresence(after: .lost)
        context = nil
        metrics.socketEnded(stage, isWritable: isWritable)
        isWritable = false
        deadline?.cancel()
        endTurn()
        log(.debug, "session ended")
        services.sessionEnded()
        hub.remove(self, user: identity?.user)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard stage != .closing else { return }
        life.heard()
        readTime = .now()
        let bytes = unwrapInboundIn(data)
        metrics.read(bytes.readableBytes)
        decoder.feed(bytes)
        do {
            while stage != .closing, let message = try decoder.next() { received(message) }
        } catch {
            // Of a stranger less is taken than `max_frame`: what is longer is no `auth`.
            let isNoAuth =
                stage == .strange && error.closeCode == .messageTooBig
                && decoder.maxMessageBytes
                    < services.configuration.maximumFrame
            close(isNoAuth ? .unauthorized : error.closeCode, error.message)
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if isWritable != context.channel.isWritable {
            isWritable = context.channel.isWritable
            metrics.writabilityChanged(isWritable)
        }
        // A client that does not read is not read from either: its requests would pile up as answers.
        try? context.channel.syncOptions?.setOption(ChannelOptions.autoRead, value: isWritable)
        stalledTurns = 0
        if isWritable { resumeSync() }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case ChannelEvent.inputClosed: context.close(promise: nil)
        case is ChannelShouldQuiesceEvent: close(.drain)
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    /// Its token is good: it is no stranger any more.
    func signedIn(_ user: UserID) {
        allowance = services.admission.limiter?.allowance(of: user.description)
        decoder.maxMessageBytes = services.configuration.maximumFrame
        visit?.becameKnown()
    }

    /// - Parameter metadata: besides the session and its user.
    func log(_ level: Logger.Level, _ message: Logger.Message, _ metadata: @autoclosure () -> Logger.Metadata = [:]) {
        services.logger.log(
            level: level,
            message,
            metadata: metadata().merging(["session": "\(name)", "user": "\(identity?.user.description ?? "")"]) { $1 }
        )
    }

    // MARK: Frames out

    func write(_ frame: ServerFrame) {
        var buffer = ByteBufferAllocator().buffer(capacity: 256)
        WebSocketFrame.write(frame, into: &buffer)
        write(buffer)
    }

    /// Writes a whole frame.
    func write(_ frame: ByteBuffer) {
        guard let context, stage != .closing else { return }
        metrics.wrote(frame.readableBytes)
        context.write(wrapOutboundOut(frame), promise: nil)
        guard !isFlushPending else { return }
        isFlushPending = true
        hub.flushLater(self)
    }

    func flush() {
        isFlushPending = false
        context?.flush()
    }

    // MARK: Life

    /// It is this session's turn on the wheel.
    func heartbeat() {
        guard stage == .attaching || stage == .attached else { return }
        checkProgress()
        renewPlace()
        switch life.turn() {
        case .ping: write(Self.ping)
        case .close: close(.heartbeatLost)
        }
    }

    /// Sends a close frame and waits a little for the client's, so that the code is not lost in a reset.
    func close(_ code: CloseCode, _ reason: String? = nil) {
        guard stage != .closing else { return }
        var frame = ByteBuffer()
        WebSocketFrame.writeClose(code, reason: reason, into: &frame)
        leavePresence(after: .closedByServer(code))
        metrics.closing(code)
        log(.debug, "session closed", ["code": "\(code.rawValue)", "reason": "\(reason ?? code.reason)"])
        finish(with: frame)
    }

    func finish(with frame: ByteBuffer) {
        guard let context else { return }
        stage = .closing
        let channel = context.channel
        try? channel.syncOptions?.setOption(ChannelOptions.autoRead, value: true)
        context.writeAndFlush(wrapOutboundOut(frame)).assumeIsolated().whenComplete { _ in
            channel.close(mode: .output, promise: nil)
        }
        eventLoop.scheduleTask(in: Self.closePatience) { channel.close(promise: nil) }
    }
}
