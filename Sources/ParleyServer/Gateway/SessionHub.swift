import Logging
import NIOCore
import ParleyCore
import ParleyWire
import RedisClient

/// The sessions of one event loop: which user's entries go to which of them, and their common timers.
///
/// All state is touched on `eventLoop` only, which is what makes the class safe to pass around.
final class SessionHub: @unchecked Sendable {
    let eventLoop: any EventLoop
    private let services: GatewayServices
    private let connections: [RedisConnection]
    private var subscriber: RedisSubscriber?

    private var sessions: [Session.ID: Session] = [:]
    private var sessionsByUser: [UserID: [Session]] = [:]
    private var wheel: TimerWheel<Session.ID>
    private var timers: [RepeatedTask] = []
    private var nextID: Session.ID = 0

    /// Conversations that Redis knows in this epoch.
    private var known: Set<ConversationID> = []
    private static let knownLimit = 200_000

    /// Who is in groups, as far as Redis said in this epoch.
    private var rosters: [ConversationID: Roster] = [:]
    private var rosterMembers = 0
    /// Members of all rosters together: about 100 bytes each.
    private static let rosterMemberLimit = 200_000

    private var unflushed: [Session] = []
    private var unacknowledged: Set<Session.ID> = []

    private static let slots = 25
    /// How long acks are gathered: as late may a sender see that a message was delivered.
    private static let ackPause = TimeAmount.seconds(2)
    /// Sessions whose positions one call checks.
    private static let positionChunk = 200

    init(eventLoop: any EventLoop, services: GatewayServices) {
        self.eventLoop = eventLoop
        self.services = services
        connections = services.redis.connections(on: eventLoop)
        wheel = TimerWheel(slotCount: Self.slots)
    }

    func start() {
        services.epochs.onChange { epoch in
            self.eventLoop.execute { self.epochChanged(to: epoch) }
        }
        subscriber = services.redis.subscriber(
            on: eventLoop,
            onMessage: { [unowned self] in self.received(channel: $0, payload: $1) },
            onResubscribed: { [unowned self] in self.checkPositions(of: Array(self.sessions.values)) }
        )
        let tick = TimeAmount.nanoseconds(services.configuration.heartbeat.nanoseconds / Int64(Self.slots))
        eventLoop.execute {
            self.timers = [
                self.eventLoop.scheduleRepeatedTask(initialDelay: tick, delay: tick) { _ in self.turn() },
                self.eventLoop.scheduleRepeatedTask(initialDelay: Self.ackPause, delay: Self.ackPause) { _ in
                    self.passOnAcks()
                },
            ]
        }
    }

    func close() async {
        let timers = try? await eventLoop.submit { self.timers }.get()
        for timer in timers ?? [] { timer.cancel() }
        await subscriber?.close()
    }

    /// Whether published entries reach this loop.
    var isHealthy: Bool {
        get async { (try? await eventLoop.submit { self.subscriber?.isHealthy ?? false }.get()) ?? false }
    }

    // MARK: Sessions come and go

    func add(_ session: Session) -> (id: Session.ID, slot: Int) {
        nextID += 1
        let slot = Int.random(in: 0..<Self.slots)
        sessions[nextID] = session
        wheel.insert(nextID, slot: slot)
        return (nextID, slot)
    }

    func remove(_ session: Session, user: UserID?) {
        sessions[session.id] = nil
        unacknowledged.remove(session.id)
        wheel.remove(session.id, slot: session.slot)
        guard let user else { return }
        sessionsByUser[user]?.removeAll { $0 === session }
        if sessionsByUser[user]?.isEmpty == true {
            sessionsByUser[user] = nil
            subscriber?.unsubscribe(Keys.channel(user))
        }
    }

    /// Has the user's entries come here; `confirmed` runs when all that is published from now on does.
    func follow(_ user: UserID, _ session: Session, confirmed: @escaping () -> Void) {
        sessionsByUser[user, default: []].append(session)
        subscriber?.subscribe(Keys.channel(user), confirmed: confirmed)
    }

    /// All sends of a session go through one connection: their order is its order.
    func connection(of session: Session) -> RedisConnection { connections[session.id % connections.count] }

    // MARK: What Redis publishes

    private func received(channel: ByteBuffer, payload: ByteBuffer) {
        let prefix = Keys.userChannelPrefix.utf8.count
        guard let user = UserID(String(decoding: channel.readableBytesView.dropFirst(prefix), as: UTF8.self)),
            let listeners = sessionsByUser[user]
        else { return }
        if let notice = UserNotice(payload) {
            for session in listeners { session.noticed(notice) }
        } else if let entry = PublishedEntry(payload) {
            // Encoded once, whatever the number of sockets.
            var frame: ByteBuffer?
            for session in listeners {
                session.published(entry) {
                    if let frame { return frame }
                    let encoded = EventFrame.encode(q: entry.q, event: entry.event)
                    frame = encoded
                    return encoded
                }
            }
        }
    }

    // MARK: Timers

    private func turn() {
        let due = wheel.advance().compactMap { sessions[$0] }
        for session in due { session.heartbeat() }
        checkPositions(of: due)
    }

    /// Asks for the heads of these sessions' queues: whoever missed a wake-up reads on from the stream.
    private func checkPositions(of sessions: [Session]) {
        let attached = sessions.filter(\.isAttached)
        for start in stride(from: 0, to: attached.count, by: Self.positionChunk) {
            let chunk = Array(attached[start..<min(start + Self.positionChunk, attached.count)])
            let asked = chunk.compactMap { session in
                session.identity.map {
                    (session: session, user: $0.user, login: $0.login.description, cursor: session.cursor)
                }
            }
            connections[0].send(Positions.command(asked.map { ($0.user, $0.login) }), repeatable: true) { result in
                guard case .success(let reply) = result, let positions = Positions(reply),
                    positions.heads.count == asked.count
                else { return }
                for (question, answer) in zip(asked, positions.heads) {
                    question.session.positionChecked(
                        epoch: positions.epoch,
                        head: answer.head,
                        cursorThen: question.cursor,
                        isRevoked: answer.isRevoked
                    )
                }
            }
        }
    }

    private func epochChanged(to epoch: String) {
        known = []
        forgetRosters()
        for session in sessions.values { session.epochChanged(to: epoch) }
    }

    // MARK: Acks

    func hasAcks(_ session: Session) { unacknowledged.insert(session.id) }

    private func passOnAcks() {
        for id in unacknowledged { sessions[id]?.passOnAcks() }
        unacknowledged = []
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

/// A durable event as a whole WebSocket frame.
enum EventFrame {
    static func encode(q: Int64, event: ByteBuffer) -> ByteBuffer {
        WebSocketFrame.text(capacity: event.readableBytes + 48) { buffer in
            // What is not an object cannot come from our functions; an empty event keeps q contiguous.
            guard (try? ServerFrame.encodeEvent(q: q, object: event, into: &buffer)) != nil else {
                return ServerFrame(.event(q: q, Event(.unknown))).encode(into: &buffer)
            }
        }
    }
}
