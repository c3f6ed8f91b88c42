import Logging
import NIOCore
import NIOExtras
import ParleyCore
import ParleyWire
import RedisClient

/// One client's socket: the last handler of its channel, confined to the channel's event loop.
///
/// This file holds the session's life: frames in, frames out, heartbeat, close. What it does with its sync queue is in
/// Session+Sync.swift, with sends in Session+Send.swift, and what is different in groups in Session+Groups.swift.
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
    private(set) var unansweredCalls = 0

    private let visit: Visit?
    /// Its user's, once that is known; nil where nothing is limited.
    private(set) var allowance: Allowance?
    private var decoder: WebSocketDecoder
    private var context: ChannelHandlerContext?
    private var life = Heartbeat()
    private var deadline: Scheduled<Void>?
    private var badFrames = 0
    private var isLeaving = false
    private var isFlushPending = false
    /// When the frames came that are being handled.
    private(set) var readTime = NIODeadline.now()
    private var lastTyping: NIODeadline = .distantPast
    var lastPlace: NIODeadline = .now()

    /// A third of the time for which Redis takes a silent socket to be there.
    static let placePause = TimeAmount.minutes(5)

    private static let badFrameLimit = 10
    private static let closePatience = TimeAmount.seconds(2)
    /// A little longer than Redis may take.
    private static let answerPatience = TimeAmount.seconds(6)
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

    // MARK: Frames in

    private func received(_ message: WebSocketMessage) {
        switch message {
        case .text(let text): receivedText(text)
        case .binary: close(.unsupportedData)
        case .ping(let payload):
            var frame = ByteBuffer()
            WebSocketFrame.write(.pong, payload, into: &frame)
            write(frame)
        case .pong: break
        case .close(let code, _):
            var frame = ByteBuffer()
            // The peer's code is echoed (RFC 6455, section 5.5.1).
            var payload = ByteBuffer()
            if let code { payload.writeInteger(code) }
            WebSocketFrame.write(.close, payload, into: &frame)
            leavePresence(after: .closedByClient(code))
            metrics.closingAsAsked()
            finish(with: frame)
        }
    }

    private func receivedText(_ text: ByteBuffer) {
        guard !isLeaving else { return }
        let frame: ClientFrame
        do {
            frame = try ClientFrame.decode(text)
        } catch {
            guard stage != .strange else { return close(.unauthorized, "the first frame must be auth") }
            return refuse(error)
        }
        switch (stage, frame.operation) {
        case (.strange, .auth(let auth)): authenticate(auth)
        case (.strange, _): close(.unauthorized, "the first frame must be auth")
        case (_, .auth): refuse(FrameError(.badFrame, "this socket has its user already", id: frame.id))
        case (.attaching, _): refuse(FrameError(.unavailable, "wait for ready", id: frame.id), retryMilliseconds: 100)
        case (.attached, _): handle(frame)
        case (.closing, _): break
        }
    }

    private func handle(_ frame: ClientFrame) {
        guard admits(frame) else { return }
        switch frame.operation {
        case .send(let send): submit(send, id: frame.id)
        case .ack(let q): acknowledge(q)
        case .ping: write(ServerFrame(.pong(head: cursor), id: frame.id))
        case .sync(let cursor): rewind(to: cursor, id: frame.id)
        case .read(let conversation, let seq): read(conversation, seq, id: frame.id)
        case .typing(let conversation): typing(conversation, id: frame.id)
        case .active: personIsActive()
        case .watch(let users): watch(users)
        case .auth: break
        case .edit(let edit):
            submit(.edit(body: edit.body), of: edit.mid, in: edit.conv, cid: edit.cid, id: frame.id)
        case .delete(let deletion):
            submit(.delete, of: deletion.mid, in: deletion.conv, cid: deletion.cid, id: frame.id)
        case .suggest:
            refuse(FrameError(.invalid, "this operation is not served here", id: frame.id))
        }
    }

    /// Shown to the other members' devices, at most every three seconds, and nowhere kept.
    private func typing(_ conversation: ConversationID, id: FrameID?) {
        guard let user = identity?.user, !conversation.isDirect || conversation.peer(of: user) != nil else {
            return refuse(FrameError(.notFound, "no such conversation", id: id))
        }
        guard lastTyping + .seconds(3) <= .now() else { return }
        lastTyping = .now()
        let notice = UserNotice.typing(conversation: conversation, user: user)
        guard let peer = conversation.peer(of: user) else { return typingInGroup(conversation, user, notice, id: id) }
        let arguments = [user.description, peer.description, notice.payload]
        let command = RedisFunctions.call("typing", keys: [Keys.conversation(conversation)], arguments)
        hub.connection(of: self).send(command) { _ in }
    }

    /// Whether this socket may ask Redis one thing more; the connection is everybody's.
    func beginCall(id: FrameID?) -> Bool {
        guard unansweredCalls < services.configuration.maximumUnansweredSends else {
            refuse(FrameError(.rateLimited, "too many unanswered frames", id: id), retryMilliseconds: 100)
            return false
        }
        unansweredCalls += 1
        return true
    }

    func endCall() {
        unansweredCalls -= 1
        closeWhenAnswered()
    }

    /// Answers a frame with an error; the tenth bad one ends the connection.
    func refuse(_ error: FrameError, retryMilliseconds: Int64? = nil, _ activity: Activity = .frame) {
        metrics.refused(error.code)
        services.refusals.count(activity, error.code)
        write(ServerFrame(error, retryMilliseconds: retryMilliseconds))
        guard error.code == .badFrame else { return }
        badFrames += 1
        if badFrames >= Self.badFrameLimit { close(.badFrames) }
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

    /// Tells the client to go to another gateway, and ends the session within the drain window. Its last quarter is for
    /// the client to move: the new connection first, the end of this one after.
    func drain() {
        guard stage != .closing else { return }
        let quarter = services.configuration.drainWindow.nanoseconds / 4
        let wait = TimeAmount.nanoseconds(.random(in: 0...3 * quarter))
        tellToGo(.drain, after: wait, to: services.alternative)
        eventLoop.assumeIsolated().scheduleTask(in: wait + .nanoseconds(quarter)) { self.leave() }
    }

    func tellToGo(_ reason: DepartureReason, after wait: TimeAmount, to url: String?) {
        let milliseconds = wait.nanoseconds / 1_000_000
        write(
            ServerFrame(.goaway(.init(reason: reason.rawValue, reconnectMilliseconds: milliseconds, url: url)))
        )
    }

    /// Takes no more frames, answers those that it took, and closes.
    private func leave() {
        isLeaving = true
        closeWhenAnswered()
        eventLoop.assumeIsolated().scheduleTask(in: Self.answerPatience) { self.close(.drain) }
    }

    func closeWhenAnswered() {
        if isLeaving, sends.count == 0, unansweredCalls == 0 { close(.drain) }
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

    private func finish(with frame: ByteBuffer) {
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
