import Logging
import NIOCore
import ParleyCore
import ParleyWire
import RedisClient

/// A session and its user's sync queue.
extension Session {
    /// The last position written to the socket.
    var cursor: Int64 { sync?.cursor ?? 0 }

    var position: ReaderPosition? {
        guard stage == .attached, let identity else { return nil }
        return ReaderPosition(
            user: identity.user,
            login: identity.login.description,
            cursor: cursor,
            lease: presenceLease
        )
    }

    // MARK: Begin

    func authenticate(_ auth: ClientFrame.Auth) {
        guard let identity = services.tokens.verify(auth.token) else {
            return close(.unauthorized, "the token is not valid, or no longer")
        }
        guard auth.resume != nil || !services.admission.sheds(.session) else {
            let problem = Admission.shed
            let error = FrameError(problem.code, problem.detail)
            refuse(error, retryMilliseconds: problem.retryMilliseconds.map { Int64($0) }, .session)
            return close(.overloaded)
        }
        stage = .attaching
        signedIn(identity.user)
        self.identity = identity
        device = auth.device
        isEphemeral = auth.ephemeral
        hub.beginInTurn(self) { self.attach(identity, auth) }
    }

    /// Registers and subscribes first and asks where the queue stands after, so that nothing falls between.
    private func attach(_ identity: Identity, _ auth: ClientFrame.Auth) {
        let limit = eventLoop.assumeIsolated().scheduleTask(in: .seconds(10)) {
            guard self.stage == .attaching else { return }
            self.turnAway()
            // Nor will those who wait be answered.
            self.hub.turnAwayTheWaiting()
        }
        hub.follow(identity.user, self) { [weak self] in
            guard let self, stage == .attaching, !hasEnded else { return }
            let command = Attachment.command(
                user: identity.user,
                device: auth.device,
                session: name,
                login: identity.login.description,
                keepsPlace: !auth.ephemeral,
                resume: auth.resume,
                deviceLimit: services.commit.deviceLimit
            )
            hub.connection(of: self).send(command, repeatable: true) { result in
                limit.cancel()
                self.attached(result, resume: auth.resume)
                self.endTurn()
            }
        }
    }

    /// Lets another session begin; only the first call does.
    func endTurn() {
        guard isBeginning else { return }
        isBeginning = false
        hub.turnEnded()
    }

    private func attached(_ result: Result<RESPValue, RedisError>, resume: ClientFrame.Cursor?) {
        guard stage == .attaching, !hasEnded, let identity else {
            if case .success(let reply) = result { epoch = Attachment(reply)?.epoch ?? "" }
            return tellPlace(0, ended: true)
        }
        guard case .success(let reply) = result, let attachment = Attachment(reply), !attachment.epoch.isEmpty else {
            return turnAway()
        }
        guard !attachment.isRevoked else { return close(.unauthorized, "this sign-in was ended") }
        guard !attachment.isOneTooMany else {
            refuse(FrameError(.forbidden, Attachment.oneTooMany))
            return close(.tooManyDevices)
        }
        guard attachment.epoch == services.epochs.epoch else {
            // Redis is ahead of this process: learn its epoch before serving anyone.
            services.learnEpoch()
            return turnAway()
        }
        stage = .attached
        log(.debug, "session begins", ["device": "\(device?.description ?? "")"])
        epoch = attachment.epoch
        let mode = ResumeDecision.mode(
            resume: resume.map { ($0.epoch, $0.q) },
            epoch: epoch,
            head: attachment.head,
            firstAvailable: attachment.firstAvailable
        )
        if resume == nil || mode == .resync { services.admission.beganFresh() }
        let start = mode == .replay ? resume?.q ?? attachment.head : attachment.head
        sync = SyncState(cursor: start, head: attachment.head, announcesLive: mode == .replay)
        acks = AckState(cursor: start)
        write(
            ServerFrame(
                .ready(
                    .init(
                        user: identity.user,
                        session: name,
                        epoch: epoch,
                        head: attachment.head,
                        mode: mode,
                        now: WallClock.milliseconds(),
                        heartbeatMilliseconds: services.configuration.heartbeat.nanoseconds / 1_000_000,
                        maxFrame: Int64(services.configuration.maximumFrame)
                    )
                )
            )
        )
        enterPresence()
        if mode == .replay {
            readPage()
        } else if publishedEarly > attachment.head {
            run(sync?.positionChecked(head: publishedEarly))
        }
    }

    /// Redis cannot be asked: the client comes back later.
    func turnAway() {
        refuse(FrameError(.unavailable, "the sync queue cannot be reached"), retryMilliseconds: 1000)
        close(.overloaded, "unavailable")
    }

    // MARK: Entries

    /// An entry of this session's user came by.
    func published(_ entry: PublishedEntry, frame: () -> ByteBuffer) {
        guard stage == .attached else {
            publishedEarly = max(publishedEarly, entry.q)
            return
        }
        guard entry.epoch == epoch else { return close(.epochChanged) }
        checkWatches(entry.event)
        switch sync?.published(entry.q, isWritable: isWritable) {
        case .write: writeEvent(q: entry.q, entry.delivery, frame(), committed: entry.delivery?.timestamp)
        case let action: run(action)
        }
    }

    func noticed(_ notice: UserNotice) {
        switch notice {
        case .revoked(let login):
            if identity?.login.description == login { close(.unauthorized, "this sign-in was ended") }
        case .replaced(let device, let session):
            guard device == self.device?.description else { return }
            // Notices come in the order of the attaches: one after our own is of a newer session.
            if session == name { sawOwnAttach = true } else if sawOwnAttach { close(.replaced) }
        case .typing(let conversation, let user):
            if stage == .attached, isWritable { write(ServerFrame(.typing(conv: conversation, user: user))) }
        case .receipts(let receipts):
            guard stage == .attached, isWritable, let user = identity?.user else { return }
            for receipt in receipts where receipt.user != user { write(ServerFrame(.receipt(receipt))) }
        }
    }

    func positionChecked(epoch: String, head: Int64, cursorThen: Int64, isRevoked: Bool) {
        guard stage == .attached else { return }
        if isRevoked { return close(.unauthorized, "this sign-in was ended") }
        guard epoch == self.epoch else {
            services.learnEpoch()
            return close(.epochChanged)
        }
        // Entries written since the question was asked may be beyond its answer.
        guard head >= cursorThen else { return close(.epochChanged) }
        if head > cursor { run(sync?.positionChecked(head: head)) }
    }

    func epochChanged(to epoch: String) {
        if stage == .attached, epoch != self.epoch { close(.epochChanged) }
    }

    func resumeSync() { run(sync?.resumed()) }

    /// A socket that takes nothing for two turns is given up.
    func checkProgress() {
        guard sync?.phase == .lagging else {
            stalledTurns = 0
            return
        }
        if isWritable { return resumeSync() }
        stalledTurns += 1
        if stalledTurns >= 2 { close(.slow) }
    }

    private func run(_ action: SyncState.Action?) {
        switch action {
        case .read, .reread: readPage()
        case .announceLive: write(ServerFrame(.live(q: cursor)))
        case .resync: close(.epochChanged)
        case .some(.write), .some(.none), nil: break
        }
    }

    private func readPage() {
        guard let user = identity?.user else { return }
        hub.connection(of: self).send(QueuePage.command(user: user, after: cursor), repeatable: true) { result in
            guard self.stage == .attached else { return }
            guard case .success(let reply) = result, let page = QueuePage(reply) else {
                self.sync?.pageFailed()
                self.eventLoop.scheduleTask(in: .seconds(1)) { self.resumeSync() }
                return
            }
            let action = self.sync?.pageRead(
                first: page.entries.first?.q,
                last: page.entries.last?.q,
                wasFull: page.wasFull,
                isWritable: self.isWritable
            )
            if action != .resync, action != .reread {
                for entry in page.entries {
                    let frame = EventFrame.encode(q: entry.q, event: entry.event)
                    self.writeEvent(q: entry.q, DeliveredMessage(entry.event), frame)
                    self.checkWatches(entry.event)
                }
            }
            if action == .read, !self.isWritable {
                // This page has filled the socket: the next one is read when it takes bytes again.
                self.sync?.pageFailed()
            } else {
                self.run(action)
            }
        }
    }

    /// - Parameter committed: when, of an entry that was published just now.
    private func writeEvent(q: Int64, _ delivery: DeliveredMessage?, _ frame: ByteBuffer, committed: Int64? = nil) {
        write(frame)
        metrics.wroteEvent(committed: committed)
        if let delivery, delivery.sender != identity?.user {
            acks.wrote(q: q, conversation: delivery.conversation, seq: delivery.seq)
        }
    }

    // MARK: From the client

    /// Everything after the client's cursor once more.
    func rewind(to target: ClientFrame.Cursor, id: FrameID?) {
        guard let user = identity?.user, beginCall(id: id) else { return }
        let command = RedisFunctions.call("extent", keys: [Keys.epoch, Keys.queue(user)], [], readOnly: true)
        hub.connection(of: self).send(command, repeatable: true) { result in
            self.endCall()
            guard self.stage == .attached else { return }
            guard case .success(let reply) = result, let parts = reply.array, parts.count == 3,
                let head = parts[1].integer, let first = parts[2].integer
            else {
                let error = FrameError(.unavailable, "the sync queue cannot be reached", id: id)
                return self.refuse(error, retryMilliseconds: 1000)
            }
            let mode = ResumeDecision.mode(
                resume: (target.epoch, target.q),
                epoch: self.epoch,
                head: head,
                firstAvailable: first
            )
            guard mode != .resync else {
                return self.refuse(FrameError(.staleCursor, "events after this cursor are no longer all there", id: id))
            }
            self.run(self.sync?.rewound(to: target.q))
        }
    }

    func acknowledge(_ q: Int64) {
        acks.acknowledge(q, written: cursor)
        if acks.isDirty { hub.hasAcks(self) }
    }

    /// Passes on what was acknowledged since the last time: the device's place, and delivered receipts.
    func passOnAcks() {
        guard let taken = acks.take() else { return }
        tellPlace(taken.q)
        for (conversation, seq) in taken.delivered { sendReceipt(conversation, .delivered, seq) }
    }

    /// A device that is here is not forgotten, however long nothing comes for it.
    func renewPlace() {
        if stage == .attached, lastPlace + Self.placePause <= .now() { tellPlace(0) }
    }

    /// - Parameter q: what the device has handled; its place never goes back.
    func tellPlace(_ q: Int64, ended: Bool = false) {
        guard !epoch.isEmpty, !isEphemeral, let user = identity?.user, let device else { return }
        lastPlace = .now()
        let command = RedisFunctions.call(
            "ack",
            keys: [Keys.epoch, Keys.queue(user), Keys.user(user)],
            [epoch, device.description, String(q), name, ended ? "1" : "0"]
        ).counted(as: .sync)
        hub.connection(of: self).send(command, repeatable: true) { _ in }
    }

    func read(_ conversation: ConversationID, _ seq: Int64, id: FrameID?) {
        guard let user = identity?.user, !conversation.isDirect || conversation.peer(of: user) != nil else {
            return refuse(FrameError(.notFound, "no such conversation", id: id))
        }
        guard conversation.isDirect else { return readInGroup(conversation, user, seq, id: id) }
        guard beginCall(id: id) else { return }
        sendReceipt(conversation, .read, seq) { self.endCall() }
    }

    private func sendReceipt(
        _ conversation: ConversationID,
        _ kind: Receipt.Kind,
        _ seq: Int64,
        done: @escaping () -> Void = {}
    ) {
        guard let user = identity?.user else { return }
        let receipt = Receipt(conversation: conversation, user: user, kind: kind, seq: seq)
        guard let command = receipt.command(epoch: epoch, queueCap: services.commit.queueCap) else {
            return services.groupReceipts.delivered(seq, to: user, in: conversation)
        }
        hub.connection(of: self).send(command, repeatable: true) { _ in done() }
    }
}
