import Logging
import NIOCore
import ParleyCore
import ParleyWire
import RedisClient

/// Presence on one event loop: the leases of its sessions, and what they watch.
///
/// All state is touched on `eventLoop` only, which is what makes the class safe to pass around.
final class PresenceHub: @unchecked Sendable {
    let eventLoop: any EventLoop
    let presence: Presence
    /// What leases name: this event loop of this process, which no other will be.
    let gateway: String
    let logger: Logger
    /// Enters, renewals and leaves go through one connection: their order counts.
    let connection: RedisConnection

    var board = PresenceBoard()
    var watches: [PresenceBoard.Watcher: Watch] = [:]
    private(set) var feeds: [RedisFeed] = []
    private var tick: RepeatedTask?
    private var onGivenUp: () -> Void = {}
    /// Sessions that a store owes an answer.
    var unfinished: Set<PresenceBoard.Watcher> = []
    /// Still to be read again in this round.
    private var round: ArraySlice<UserID> = []
    private var roundStep = 1
    /// Watches of which is not known yet who are friends.
    private var questions: ArraySlice<(watch: Watch, pairs: [(me: UserID, other: UserID)])> = []
    private var isAskingForFriends = false
    /// Leases that wait for their user's privacy.
    private var strangers: [(lease: PresenceLease, milliseconds: Int64, isStillThere: () -> Bool)] = []

    /// Closing a Redis client drops all its subscriptions in one go: several make smaller ones.
    private static let feedCount = 4
    /// Channels of one SUBSCRIBE when all are due at once.
    private static let chunk = 1000
    /// Within this all channels are subscribed anew, at random times.
    private static let resubscription: Int64 = 1000
    /// Seconds in which every picture is read again.
    private static let roundLength = 60
    /// Pairs that one query looks up, more if they are of one watch.
    private static let questionChunk = 500
    /// How long questions are gathered, at least.
    private static let questionPause = TimeAmount.milliseconds(5)
    /// Users of one read: while Redis reads it does nothing else.
    private static let readChunk = 100

    init(eventLoop: any EventLoop, services: GatewayServices) {
        self.eventLoop = eventLoop
        presence = services.presence
        gateway = "\(services.configuration.name).\(UserID.random().description.prefix(4))"
        logger = services.logger
        connection = services.redis.connections(on: eventLoop)[0]
    }

    /// - Parameter onGivenUp: called on the event loop when a worker has taken this one for dead.
    func start(onGivenUp: @escaping () -> Void) {
        feeds = (0..<Self.feedCount).map { index in
            presence.volatile.feed(
                on: eventLoop,
                onMessage: { [unowned self] in heard($1) },
                onReady: { [unowned self] in resubscribe(index) }
            )
        }
        self.onGivenUp = onGivenUp
        eventLoop.execute {
            self.sign()
            self.tick = self.eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in
                self.sign()
                self.readOn()
            }
        }
    }

    func close() async {
        try? await eventLoop.submit { self.tick?.cancel() }.get()
        _ = try? await presence.redis.send("HDEL", Keys.presenceGateways, gateway)
        for feed in feeds { await feed.close() }
    }

    /// Whether changes that are published come here.
    var isHealthy: Bool {
        get async { (try? await eventLoop.submit { self.feeds.allSatisfy(\.isHealthy) }.get()) ?? false }
    }

    // MARK: Leases

    private func sign() {
        connection.send(PresenceCalls.sign(of: gateway), repeatable: true) { result in
            if case .success(.integer(0)) = result { self.onGivenUp() }
        }
    }

    /// Somebody is here.
    /// - Parameter isStillThere: asked again before anything is done later.
    func enter(_ lease: PresenceLease, milliseconds: Int64, isStillThere: @escaping () -> Bool) {
        enter(lease, milliseconds, privacy: nil, isStillThere)
    }

    private func enter(
        _ lease: PresenceLease,
        _ milliseconds: Int64,
        privacy: PresencePrivacy?,
        _ isStillThere: @escaping () -> Bool
    ) {
        let command = lease.enter(gateway: gateway, milliseconds: milliseconds, privacy: privacy)
        connection.send(command, repeatable: true) { result in
            guard case .success(let value) = result, let reply = PresenceReply(value) else { return }
            self.settled(reply, lease, milliseconds: milliseconds, isStillThere: isStillThere)
        }
    }

    /// Redis has said what became of a lease.
    func settled(
        _ reply: PresenceReply,
        _ lease: PresenceLease,
        milliseconds: Int64,
        isStillThere: @escaping () -> Bool
    ) {
        switch reply {
        case .nothing: break
        case .change(let state): presence.publisher.publish(.init(user: lease.user, state: state))
        case .unknown:
            strangers.append((lease, milliseconds, isStillThere))
            if strangers.count == 1 { eventLoop.scheduleTask(in: .milliseconds(20)) { self.askForPrivacy() } }
        }
    }

    /// One question for all who came together, as after a loss of Redis's data everybody does. Should it fail, the next
    /// renewal asks again.
    private func askForPrivacy() {
        let asked = strangers
        strangers = []
        for start in stride(from: 0, to: asked.count, by: 500) {
            let chunk = Array(asked[start..<min(start + 500, asked.count)])
            let users = Array(Set(chunk.map(\.lease.user)))
            let bound = NIOLoopBound((self, chunk), eventLoop: eventLoop)
            let (store, eventLoop, logger) = (presence.store, eventLoop, logger)
            Task {
                do {
                    let found = try await store.privacy(of: users)
                    eventLoop.execute {
                        let (hub, chunk) = bound.value
                        for (lease, milliseconds, isStillThere) in chunk where isStillThere() {
                            guard let privacy = found[lease.user] else { continue }
                            hub.enter(lease, milliseconds, privacy: privacy, isStillThere)
                        }
                    }
                } catch {
                    logger.warning("presence unknown", metadata: ["error": "\(error)", "users": "\(users.count)"])
                }
            }
        }
    }

    func leave(_ lease: PresenceLease, after end: PresenceTerms.End) {
        connection.send(lease.leave(remainder: presence.terms.remainder(after: end)), repeatable: true) { result in
            guard case .success(let value) = result, case .change(let state) = PresenceReply(value) else { return }
            self.presence.publisher.publish(.init(user: lease.user, state: state))
        }
    }

    // MARK: Friends

    /// One question for all who ask at about the same time. Of many only some, and the next when those have what they
    /// asked for and the event loop has had as much time for others: presence may wait, messages should not.
    func askForFriends(of me: UserID, among others: [UserID], for watch: Watch) {
        questions.append((watch, others.map { (me, $0) }))
        guard !isAskingForFriends else { return }
        isAskingForFriends = true
        askForFriends(after: Self.questionPause)
    }

    private func askForFriends(after pause: TimeAmount) {
        eventLoop.assumeIsolated().scheduleTask(in: pause) { self.askForFriends() }
    }

    private func askForFriends() {
        var (watches, pairs): ([Watch], [(me: UserID, other: UserID)]) = ([], [])
        while let next = questions.first, watches.isEmpty || pairs.count + next.pairs.count <= Self.questionChunk {
            watches.append(next.watch)
            pairs += next.pairs
            questions.removeFirst()
        }
        guard !watches.isEmpty else {
            (questions, isAskingForFriends) = ([], false)
            return
        }
        let bound = NIOLoopBound((self, watches), eventLoop: eventLoop)
        let (store, eventLoop) = (presence.store, eventLoop)
        Task { [pairs] in
            let friends = try? await store.friends(among: pairs)
            eventLoop.execute {
                let (hub, watches) = bound.value
                hub.checked(watches, friends)
            }
        }
    }

    /// - Parameter friends: nil for what could not be looked up.
    private func checked(_ watches: [Watch], _ friends: [UserID: Set<UserID>]?) {
        let begin = NIODeadline.now()
        let lit = watches.flatMap { $0.checked(friends.map { [me = $0.me] in $0[me] ?? [] }, self) }
        subscribe(lit)
        showFirst(watches)
        askForFriends(after: max(Self.questionPause, .now() - begin))
    }

    /// The pictures after the subscriptions, so that no change falls between.
    private func showFirst(_ watches: [Watch]) {
        let owing = watches.filter { !$0.owed.isEmpty }
        whenSubscribed(owing.flatMap { watch in watch.owed.map { FriendPair($0, watch.me) } }) {
            let asking = owing.filter { self.isWatching($0) }
            for watch in asking {
                for user in watch.owed where self.isKnown(user, beside: watch) { watch.tellFirst(user, self) }
            }
            let left = asking.map { ($0, owed: $0.owed) }
            self.read(Array(Set(left.flatMap(\.owed)))) { read in
                for (watch, owed) in left where self.isWatching(watch) {
                    for user in owed where read.contains(user) { watch.tellFirst(user, self) }
                }
            }
        }
    }

    /// Whether somebody else here was told what became of the user up to now, and still hears of it: when thousands come
    /// back together, Redis need not be asked about each of their friends by each of them.
    private func isKnown(_ user: UserID, beside watch: Watch) -> Bool {
        board.state(of: user) != nil && feeds.allSatisfy(\.isReady)
            && board.watchers(of: user).contains { $0 != watch.id && watches[$0]?.hasBeenTold(of: user) == true }
    }

    // MARK: Channels

    private func feedIndex(of pair: FriendPair) -> Int {
        Int(UInt(bitPattern: pair.hashValue) % UInt(feeds.count))
    }

    func subscribe(_ pairs: [FriendPair]) {
        for (index, pairs) in Dictionary(grouping: pairs, by: feedIndex) {
            feeds[index].subscribe(pairs.map(\.channel))
        }
    }

    func unsubscribe(_ pairs: [FriendPair]) {
        for (index, pairs) in Dictionary(grouping: pairs, by: feedIndex) {
            feeds[index].unsubscribe(pairs.map(\.channel))
        }
    }

    /// Runs `done` when what is published on the channels from now on comes here; never, if a connection is lost before.
    /// One that is away is not waited for: when it is back everything is read anew.
    func whenSubscribed(_ pairs: [FriendPair], _ done: @escaping () -> Void) {
        let indices = Set(pairs.map(feedIndex)).filter { feeds[$0].isReady }
        var missing = indices.count
        if missing == 0 { done() }
        for index in indices {
            feeds[index].barrier {
                missing -= 1
                if missing == 0 { done() }
            }
        }
    }

    /// A connection is back. All gateways lose theirs at the same time, so each takes its time in a way of its own.
    private func resubscribe(_ index: Int) {
        let pairs = board.pairs().filter { feedIndex(of: $0) == index }.map { $0 }
        for start in stride(from: 0, to: pairs.count, by: Self.chunk) {
            let chunk = pairs[start..<min(start + Self.chunk, pairs.count)]
            eventLoop.scheduleTask(in: .milliseconds(.random(in: 0...Self.resubscription))) {
                // Some may be needed no more: hearing them does no harm until the next loss, missing them would.
                let needed = chunk.filter { self.board.isNeeded($0) }
                self.feeds[index].subscribe(needed.map(\.channel))
                self.feeds[index].barrier { self.read(Array(Set(needed.flatMap { [$0.lo, $0.hi] }))) }
            }
        }
    }

    private func heard(_ payload: ByteBuffer) {
        guard let change = PresenceChange(payload: String(buffer: payload)) else { return }
        tell(board.heard(change.user, change.state), of: change.user)
    }

    // MARK: Pictures

    /// Reads pictures and tells who watches what has changed.
    /// - Parameter done: called with some that were read, until it was called with all; not with what could not be.
    func read(_ users: [UserID], done: @escaping (Set<UserID>) -> Void = { _ in }) {
        let users = users.filter { !board.watchers(of: $0).isEmpty }
        for start in stride(from: 0, to: users.count, by: Self.readChunk) {
            let chunk = users[start..<min(start + Self.readChunk, users.count)]
            let known = chunk.map { board.state(of: $0)?.version ?? -1 }
            connection.send(PresenceCalls.read(chunk), repeatable: true) { result in
                guard case .success(let reply) = result, let states = PresenceCalls.states(reply),
                    states.count == chunk.count
                else { return }
                for ((user, state), version) in zip(zip(chunk, states), known) {
                    self.tell(self.board.read(user, state, knownThen: version), of: user)
                }
                done(Set(chunk))
            }
        }
    }

    private func tell(_ watchers: [PresenceBoard.Watcher], of user: UserID) {
        for watcher in watchers { watches[watcher]?.changed(user, self) }
    }

    /// A part of the round in which everything is read again: what was published and not heard shows here.
    private func readOn() {
        let late = unfinished.compactMap { watches[$0] }
        unfinished = unfinished.filter { watches[$0]?.isUnfinished == true }
        for watch in late where watch.mustCheck { watch.check(self) }
        if round.isEmpty {
            var users = board.users
            // In another order each time, and at each gateway.
            users.shuffle()
            round = users[...]
            roundStep = max(1, (users.count + Self.roundLength - 1) / Self.roundLength)
        }
        let part = round.prefix(roundStep)
        round = round.dropFirst(part.count)
        read(Array(part))
        showFirst(late)
    }
}
