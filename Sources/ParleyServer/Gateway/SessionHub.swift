import Logging
import NIOCore
import ParleyCore
import ParleyWire
import RedisClient

/// The sessions and waiting polls of one event loop: which user's entries go to which of them, and their common timers.
///
/// All state is touched on `eventLoop` only, which is what makes the class safe to pass around.
final class SessionHub: @unchecked Sendable {
    let eventLoop: any EventLoop
    let presence: PresenceHub
    let metrics = SocketMetrics()
    private let services: GatewayServices
    private let connections: [RedisConnection]
    private var subscriber: RedisSubscriber?

    private(set) var readers: [QueueReader.ID: any QueueReader] = [:]
    private var readersByUser: [UserID: [any QueueReader]] = [:]
    private var wheel: TimerWheel<QueueReader.ID>
    private var timers: [RepeatedTask] = []
    private var nextID: QueueReader.ID = 0
    private var polls: [QueueReader.ID: Poll] = [:]
    /// When which sessions were told to go to another gateway.
    var toldToGo: [QueueReader.ID: NIODeadline] = [:]

    /// Conversations that Redis knows in this epoch.
    private var known: Set<ConversationID> = []
    private static let knownLimit = 200_000

    /// Who is in groups, as far as Redis said in this epoch.
    private var rosters: [ConversationID: Roster] = [:]
    private var rosterMembers = 0
    /// Members of all rosters together: about 100 bytes each.
    private static let rosterMemberLimit = 200_000

    /// Sessions that ask Redis where they stand. Each answer lets another ask: of those who all come at once, none of their
    /// questions is before a message that is sent meanwhile, but these.
    private var beginning = Turnstile<(session: Session, begin: () -> Void)>(width: 64)

    private var unflushed: [Session] = []
    /// Sessions with acks to pass on, by whose turn it is.
    private var unacknowledged = [[QueueReader.ID: Session]](repeating: [:], count: SessionHub.ackTurns)
    private var ackTurn = 0

    private static let slots = 25
    /// How long acks are gathered: as late may a sender see that a message was delivered. Those of all sessions at once
    /// would hold Redis, and messages with it, for tens of milliseconds.
    private static let ackPause = TimeAmount.seconds(2)
    private static let ackTurns = 20
    /// Readers whose positions one call checks.
    private static let positionChunk = 50
    /// How late a poll may find its time to be up.
    private static let pollTick = TimeAmount.milliseconds(250)

    init(eventLoop: any EventLoop, services: GatewayServices) {
        self.eventLoop = eventLoop
        self.services = services
        connections = services.redis.connections(on: eventLoop)
        presence = PresenceHub(eventLoop: eventLoop, services: services)
        wheel = TimerWheel(slotCount: Self.slots)
    }

    func start() {
        services.epochs.onChange { epoch in
            self.eventLoop.execute { self.epochChanged(to: epoch) }
        }
        subscriber = services.redis.subscriber(
            on: eventLoop,
            onMessage: { [unowned self] in self.received(channel: $0, payload: $1) },
            onResubscribed: { [unowned self] in self.checkPositions(of: Array(self.readers.values)) }
        )
        presence.start { [unowned self] in self.checkPositions(of: Array(self.readers.values)) }
        let tick = TimeAmount.nanoseconds(services.configuration.heartbeat.nanoseconds / Int64(Self.slots))
        let ackTick = TimeAmount.nanoseconds(Self.ackPause.nanoseconds / Int64(Self.ackTurns))
        eventLoop.execute {
            self.subscriber?.subscribe(Keys.groupsChannel) {}
            self.timers = [
                self.eventLoop.scheduleRepeatedTask(initialDelay: tick, delay: tick) { _ in self.turn() },
                self.eventLoop.scheduleRepeatedTask(initialDelay: ackTick, delay: ackTick) { _ in self.passOnAcks() },
                self.eventLoop.scheduleRepeatedTask(initialDelay: Self.pollTick, delay: Self.pollTick) { _ in
                    let now = NIODeadline.now()
                    for poll in self.polls.values where poll.deadline <= now { poll.timeIsUp() }
                },
            ]
        }
    }

    func close() async {
        let timers = try? await eventLoop.submit { self.timers }.get()
        for timer in timers ?? [] { timer.cancel() }
        await presence.close()
        await subscriber?.close()
    }

    /// Whether published entries reach this loop.
    var isHealthy: Bool {
        get async { (try? await eventLoop.submit { self.subscriber?.isHealthy ?? false }.get()) ?? false }
    }

    /// On the event loop: its connections for subscriptions that do not hear what is published, and losses of any.
    var subscriptions: (unhealthy: Int, losses: Int) {
        let feeds = presence.feeds
        let isUnhealthy = subscriber?.isHealthy != true
        return (
            (isUnhealthy ? 1 : 0) + feeds.count { !$0.isHealthy },
            feeds.reduce(subscriber?.losses ?? 0) { $0 + $1.losses }
        )
    }

    // MARK: Readers come and go

    func add(_ reader: any QueueReader) -> (id: QueueReader.ID, slot: Int) {
        nextID += 1
        let slot = Int.random(in: 0..<Self.slots)
        readers[nextID] = reader
        wheel.insert(nextID, slot: slot)
        return (nextID, slot)
    }

    /// Has `timeIsUp` called from a poll's deadline on.
    func endInTime(_ poll: Poll) { polls[poll.id] = poll }

    func remove(_ reader: any QueueReader, user: UserID?) {
        readers[reader.id] = nil
        polls[reader.id] = nil
        toldToGo[reader.id] = nil
        unacknowledged[reader.id % Self.ackTurns][reader.id] = nil
        presence.forget(reader.id)
        wheel.remove(reader.id, slot: reader.slot)
        guard let user else { return }
        readersByUser[user]?.removeAll { $0 === reader }
        if readersByUser[user]?.isEmpty == true {
            readersByUser[user] = nil
            subscriber?.unsubscribe(Keys.channel(user))
        }
    }

    /// Calls `begin` when it is the session's turn, unless it has ended by then. `turnEnded` must follow.
    func beginInTurn(_ session: Session, _ begin: @escaping () -> Void) {
        guard beginning.arrived((session, begin)) else { return }
        session.isBeginning = true
        begin()
    }

    func turnEnded() {
        while let (session, begin) = beginning.left() {
            guard session.stage == .attaching, !session.hasEnded else { continue }
            session.isBeginning = true
            // Not within the end of the turn before: where each fails at once, there would be thousands within each other.
            return eventLoop.assumeIsolated().execute { if session.isBeginning { begin() } }
        }
    }

    func turnAwayTheWaiting() {
        for (session, _) in beginning.dismissed() where session.stage == .attaching { session.turnAway() }
    }

    /// Has the user's entries come here; `confirmed` runs when all that is published from now on does.
    func follow(_ user: UserID, _ reader: any QueueReader, confirmed: @escaping () -> Void) {
        readersByUser[user, default: []].append(reader)
        subscriber?.subscribe(Keys.channel(user)) {
            self.subscriber?.subscribe(Keys.groupsChannel, confirmed: confirmed)
        }
    }

    var waitingPolls: Int { polls.count }

    /// The one that has waited for longest first.
    func waitingPolls(of user: UserID) -> [Poll] { readersByUser[user]?.compactMap { $0 as? Poll } ?? [] }

    /// All sends of a session go through one connection: their order is its order.
    func connection(of session: Session) -> RedisConnection { connections[session.id % connections.count] }

    /// For what keeps no order with anything else.
    var anyConnection: RedisConnection { connections[Int.random(in: 0..<connections.count)] }

    // MARK: What Redis publishes

    /// Whether what is published to this reader's user comes here. A connection that is gone without a word shows late:
    /// what was missed then is found when positions are checked.
    func isHearing(_ reader: any QueueReader) -> Bool {
        readers[reader.id] != nil && subscriber?.isHealthy ?? false
    }

    private func received(channel: ByteBuffer, payload: ByteBuffer) {
        if channel.readableBytesView.first == Keys.groupsChannel.utf8.first { return receivedForMany(payload) }
        let prefix = Keys.userChannelPrefix.utf8.count
        guard let user = UserID(String(decoding: channel.readableBytesView.dropFirst(prefix), as: UTF8.self)),
            let listeners = readersByUser[user]
        else { return }
        if let notice = UserNotice(payload) {
            for reader in listeners { reader.noticed(notice) }
        } else if let entry = PublishedEntry(payload) {
            publish(entry, to: listeners)
        }
    }

    private func receivedForMany(_ payload: ByteBuffer) {
        guard !readersByUser.isEmpty, let fanOut = PublishedFanOut(payload) else { return }
        fanOut.forEach { user, q in
            if let listeners = readersByUser[user] { publish(fanOut.entry(at: q), to: listeners) }
        }
    }

    /// What nobody but this loop is to pass on to the user's readers.
    func publish(_ entry: PublishedEntry, to user: UserID) {
        if let listeners = readersByUser[user] { publish(entry, to: listeners) }
    }

    private func publish(_ entry: PublishedEntry, to listeners: [any QueueReader]) {
        // Encoded once, whatever the number of sockets.
        var frame: ByteBuffer?
        for reader in listeners {
            reader.published(entry) {
                if let frame { return frame }
                let encoded = EventFrame.encode(q: entry.q, event: entry.event)
                frame = encoded
                return encoded
            }
        }
    }

    // MARK: Timers

    private func turn() {
        let due = wheel.advance().compactMap { readers[$0] }
        for reader in due { reader.heartbeat() }
        checkPositions(of: due)
    }

    func checkPositions(of user: UserID) { checkPositions(of: readersByUser[user] ?? []) }

    /// Asks for the heads of these readers' queues: whoever missed a wake-up reads on from the stream.
    private func checkPositions(of readers: [any QueueReader]) {
        let asked = readers.compactMap { reader in reader.position.map { (reader: reader, position: $0) } }
        for start in stride(from: 0, to: asked.count, by: Self.positionChunk) {
            let chunk = asked[start..<min(start + Self.positionChunk, asked.count)]
            let lease = services.configuration.presenceTerms.lease
            let command = Positions.command(chunk.map(\.position), gateway: presence.gateway, lease: lease)
            connections[0].send(command, repeatable: true) { result in
                guard case .success(let reply) = result, let positions = Positions(reply),
                    positions.heads.count == chunk.count
                else { return }
                for (question, answer) in zip(chunk, positions.heads) {
                    question.reader.positionChecked(
                        epoch: positions.epoch,
                        head: answer.head,
                        cursorThen: question.position.cursor,
                        isRevoked: answer.isRevoked
                    )
                    guard let renewed = question.position.lease, let reply = answer.presence, reply != .nothing
                    else { continue }
                    self.presence.settled(reply, renewed, milliseconds: lease) { [weak reader = question.reader] in
                        reader?.position?.lease != nil
                    }
                }
            }
        }
    }

    private func epochChanged(to epoch: String) {
        known = []
        for reader in readers.values { reader.epochChanged(to: epoch) }
        forgetRosters()
    }

    // MARK: Acks

    func hasAcks(_ session: Session) { unacknowledged[session.id % Self.ackTurns][session.id] = session }

    private func passOnAcks() {
        ackTurn = (ackTurn + 1) % Self.ackTurns
        for session in unacknowledged[ackTurn].values { session.passOnAcks() }
        unacknowledged[ackTurn].removeAll(keepingCapacity: true)
    }

    // MARK: Known conversations

    func isKnown(_ conversation: ConversationID) -> Bool { known.contains(conversation) }

    func markKnown(_ conversation: ConversationID) {
        if known.count >= Self.knownLimit { known = [] }
        known.insert(conversation)
    }

    func forget(_ conversation: ConversationID) { known.remove(conversation) }

    // MARK: Rosters

    func roster(of group: ConversationID) -> Roster? { rosters[group] }

    /// Takes over who is in a group. An answer that was overtaken by a newer one is dropped, unless it refused the
    /// version that is known: then that one is of an epoch that is gone.
    func learn(_ roster: Roster, of group: ConversationID, refused version: Int64? = nil) {
        if let known = rosters[group] {
            guard roster.version >= known.version || version == known.version else { return }
            rosterMembers -= known.members.count
        }
        if rosterMembers + roster.members.count > Self.rosterMemberLimit { forgetRosters() }
        rosterMembers += roster.members.count
        rosters[group] = roster
    }

    private func forgetRosters() {
        rosters = [:]
        rosterMembers = 0
    }

    // MARK: Output

    /// Everything written within one turn of the event loop leaves in one flush a session.
    func flushLater(_ session: Session) {
        unflushed.append(session)
        guard unflushed.count == 1 else { return }
        eventLoop.execute {
            let sessions = self.unflushed
            self.unflushed = []
            for session in sessions { session.flush() }
            self.metrics.flushed()
        }
    }
}

/// The hub of each event loop.
struct SessionHubs: Sendable {
    private let byLoop: [ObjectIdentifier: SessionHub]
    let all: [SessionHub]

    init(_ hubs: [SessionHub]) {
        all = hubs
        byLoop = Dictionary(uniqueKeysWithValues: hubs.map { (ObjectIdentifier($0.eventLoop), $0) })
    }

    subscript(eventLoop: any EventLoop) -> SessionHub {
        guard let hub = byLoop[ObjectIdentifier(eventLoop)] else {
            preconditionFailure("a channel on a foreign event loop")
        }
        return hub
    }
}

/// A durable event at its place in a user's queue. The event was encoded once, for its commit; here its bytes are copied
/// behind the position, which is all that differs between those it goes to.
enum EventFrame {
    /// As a whole WebSocket frame.
    static func encode(q: Int64, event: ByteBuffer) -> ByteBuffer {
        WebSocketFrame.text(capacity: event.readableBytes + 48) { write(q: q, event, into: &$0) }
    }

    /// As JSON.
    static func write(q: Int64, _ event: ByteBuffer, into buffer: inout ByteBuffer) {
        // What is not an object cannot come from our functions; an empty event keeps q contiguous.
        guard (try? ServerFrame.encodeEvent(q: q, object: event, into: &buffer)) != nil else {
            return ServerFrame(.event(q: q, Event(.unknown))).encode(into: &buffer)
        }
    }
}
