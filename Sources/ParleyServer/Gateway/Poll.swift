import NIOCore
import ParleyCore
import ParleyWire
import RedisClient

/// One `GET /v1/sync`, confined to the event loop of its connection. What it does next is `PollState`'s to decide.
///
/// While it waits it is a reader like a socket's session: the same subscription wakes it, the same checks of positions
/// find what a lost wake-up left out. Waiting costs no task, no timer of its own and no question to Redis.
final class Poll: QueueReader, @unchecked Sendable {
    typealias Completion = (Result<SyncAnswer, HTTPProblem>) -> Void

    private let question: SyncQuestion
    private let hub: SessionHub
    private let services: GatewayServices
    private let connection: RedisConnection
    private(set) var id: QueueReader.ID = 0
    private(set) var slot = 0
    private let begun = NIODeadline.now()
    /// From when on the hub calls `timeIsUp`.
    private(set) var deadline = NIODeadline.distantFuture

    private var state: PollState
    private var found: SyncAnswer?
    private var taken: [(q: Int64, event: ByteBuffer)] = []
    private var end: ConnectionEndHandler?
    /// nil once the answer is given.
    private var completion: Completion?

    /// How long to wait for the subscription before looking without it: a wait that nothing can wake is of no use.
    private static let patience = TimeAmount.seconds(10)

    private init(
        _ question: SyncQuestion,
        _ hub: SessionHub,
        _ services: GatewayServices,
        _ completion: @escaping Completion
    ) {
        self.question = question
        self.hub = hub
        self.services = services
        self.completion = completion
        connection = hub.anyConnection
        state = PollState(cursor: question.cursor?.q ?? 0, limit: question.limit)
    }

    /// - Parameter channel: whose end ends the wait.
    /// - Throws: `unauthorized` for a login that was ended, `unavailable`, `overloaded`.
    static func ask(
        _ question: SyncQuestion,
        _ hub: SessionHub,
        _ services: GatewayServices,
        on channel: any Channel
    ) async throws(HTTPProblem) -> SyncAnswer {
        let result = await withCheckedContinuation { continuation in
            hub.eventLoop.execute {
                Poll(question, hub, services) { continuation.resume(returning: $0) }.begin(on: channel)
            }
        }
        return try result.get()
    }

    private func begin(on channel: any Channel) {
        end = try? channel.pipeline.syncOperations.handler(type: ConnectionEndHandler.self)
        guard question.waits, end?.isEnding != true else { return timeIsUp() }
        // An empty answer would be asked again at once.
        guard !services.isDraining else {
            return finish(.failure(HTTPProblem(.unavailable, "This gateway ends; another one answers.")))
        }
        guard !services.isFull else {
            return finish(.failure(HTTPProblem(.overloaded, "This gateway takes no more readers.")))
        }
        guard makeRoom() else {
            return finish(.failure(HTTPProblem(.rateLimited, "This account has many polls waiting here already.")))
        }
        services.sessionBegan()
        (id, slot) = hub.add(self)
        deadline = min(waitEnd, .now() + Self.patience)
        hub.endInTime(self)
        end?.onEnd = { self.timeIsUp() }
        hub.presence.enter(
            presenceLease,
            milliseconds: services.presence.terms.lease(ofPollWaiting: question.wait.nanoseconds / 1_000_000)
        ) { [weak self] in self?.completion != nil }
        hub.follow(question.identity.user, self) { [weak self] in
            guard let self else { return }
            deadline = waitEnd
            run(state.subscribed())
        }
    }

    /// Keeps the polls of a user that wait on this event loop within the number of devices.
    private func makeRoom() -> Bool {
        let (user, limit) = (question.identity.user, services.commit.deviceLimit)
        let waiting = hub.waitingPolls(of: user)
        let age = waiting.first.map { (begun - $0.begun).nanoseconds / 1_000_000 } ?? 0
        switch PollAdmission(waiting: waiting.count, oldest: age, limit: limit) {
        case .wait: return true
        case .refuse: return false
        case .displaceOldest:
            waiting.first?.timeIsUp()
            // One that Redis keeps from its end does not make room.
            return hub.waitingPolls(of: user).count < limit
        }
    }

    /// The end of an answer's patience, and of whom it is for.
    private lazy var waitEnd: NIODeadline = {
        let valid = TimeAmount.milliseconds(question.identity.expiresAt - WallClock.milliseconds())
        return .now() + min(question.wait, valid)
    }()

    private func run(_ action: PollState.Action) {
        guard completion != nil else { return }
        switch action {
        case .look: look()
        case .answer:
            // Without anything found or taken the client stays where it is.
            let nothing = SyncAnswer(epoch: question.cursor?.epoch ?? "", head: state.cursor, events: taken)
            finish(.success(found ?? nothing))
        case .none, .take: break
        }
    }

    private func finish(_ result: Result<SyncAnswer, HTTPProblem>) {
        guard let completion else { return }
        self.completion = nil
        end?.onEnd = nil
        if id != 0 {
            services.sessionEnded()
            hub.remove(self, user: question.identity.user)
        }
        if case .success(let answer) = result { hub.metrics.answeredPoll(answer.events.count) }
        completion(result)
    }

    /// A poll that waits counts as being there, for as long as it may and the grace: then the next one has come.
    private var presenceLease: PresenceLease {
        let identity = question.identity
        let known = question.device?.description ?? identity.login.description
        return PresenceLease(user: identity.user, holder: "poll:\(known)", session: "poll")
    }

    private func revoked() {
        if id != 0 { hub.presence.leave(presenceLease, after: .closedByServer(.unauthorized)) }
        finish(.failure(HTTPProblem(.unauthorized, "This sign-in was ended.")))
    }

    // MARK: The queue

    private func look() {
        let identity = question.identity
        let command = PollReply.command(
            user: identity.user,
            device: question.device,
            login: identity.login.description,
            cursor: question.cursor,
            deviceLimit: services.commit.deviceLimit
        )
        var reply: PollReply?
        connection.send(command, repeatable: true) { result in
            if case .success(let value) = result { reply = PollReply(value) }
            if self.question.cursor == nil { self.looked(reply, page: QueuePage(.array([]))) }
        }
        guard let cursor = question.cursor else { return }
        // Behind the other on the same connection, so that it reads a queue that is at least as long.
        let read = QueuePage.command(user: identity.user, after: cursor.q, limit: question.limit)
        connection.send(read, repeatable: true) { result in
            guard case .success(let value) = result else { return self.looked(reply, page: nil) }
            self.looked(reply, page: QueuePage(value))
        }
    }

    private func looked(_ reply: PollReply?, page: QueuePage?) {
        guard completion != nil else { return }
        guard let reply, let page, !reply.standing.epoch.isEmpty else {
            return finish(.failure(HTTPProblem(.unavailable, "The sync queue cannot be reached.")))
        }
        guard !reply.standing.isRevoked else { return revoked() }
        guard !reply.standing.isOneTooMany else {
            return finish(.failure(HTTPProblem(.forbidden, Attachment.oneTooMany)))
        }
        if reply.standing.epoch != services.epochs.epoch { services.learnEpoch() }
        for (conversation, seq) in reply.delivered {
            let receipt = Receipt(
                conversation: conversation,
                user: question.identity.user,
                kind: .delivered,
                seq: seq
            )
            guard let command = receipt.command(epoch: reply.standing.epoch, queueCap: services.commit.queueCap)
            else {
                services.groupReceipts.delivered(seq, to: question.identity.user, in: conversation)
                continue
            }
            connection.send(command, repeatable: true) { _ in }
        }
        found = answer(reply.standing, page.entries)
        run(state.looked(isAnswer: found != nil))
    }

    /// What there is to tell; nil for nothing new.
    private func answer(_ standing: Attachment, _ entries: [(q: Int64, event: ByteBuffer)]) -> SyncAnswer? {
        guard let cursor = question.cursor else { return SyncAnswer(epoch: standing.epoch, head: standing.head) }
        let mode = ResumeDecision.mode(
            resume: (cursor.epoch, cursor.q),
            epoch: standing.epoch,
            head: standing.head,
            firstAvailable: standing.firstAvailable
        )
        // What was there a moment ago may be trimmed by now.
        let isBroken = entries.first.map { $0.q != cursor.q + 1 } ?? (standing.head > cursor.q)
        guard mode != .resync, !isBroken else {
            return SyncAnswer(epoch: standing.epoch, head: standing.head, isResync: true)
        }
        guard let last = entries.last else { return nil }
        return SyncAnswer(epoch: standing.epoch, head: max(standing.head, last.q), events: entries)
    }

    // MARK: What the hub tells

    var position: ReaderPosition? {
        guard state.phase != .subscribing else { return nil }
        let identity = question.identity
        return ReaderPosition(
            user: identity.user,
            login: identity.login.description,
            cursor: state.cursor,
            lease: nil
        )
    }

    func published(_ entry: PublishedEntry, frame: () -> ByteBuffer) {
        guard entry.epoch == question.cursor?.epoch else { return run(state.unsettled()) }
        let action = state.published(entry.q)
        guard action == .take else { return run(action) }
        taken.append((entry.q, entry.event))
        if taken.count == 1 { hub.eventLoop.execute { self.run(self.state.breathEnded()) } }
    }

    func noticed(_ notice: UserNotice) {
        switch notice {
        case .revoked(let login): if question.identity.login.description == login { revoked() }
        case .replaced, .typing, .receipts: break
        }
    }

    func positionChecked(epoch: String, head: Int64, cursorThen: Int64, isRevoked: Bool) {
        if isRevoked { return revoked() }
        guard epoch == question.cursor?.epoch else {
            services.learnEpoch()
            return run(state.unsettled())
        }
        run(state.positionChecked(head: head))
    }

    func epochChanged(to epoch: String) {
        if epoch != question.cursor?.epoch { run(state.unsettled()) }
    }

    func heartbeat() {}

    func drain() { timeIsUp() }

    func timeIsUp() { run(state.timeIsUp()) }
}
