import NIOCore
import ParleyCore
import ParleyWire
import RedisClient

/// A send on its way, with what its answer echoes.
struct PendingSend: Sendable {
    var request: SendRequest
    let id: FrameID?
    /// When its frame was read.
    let time: NIODeadline
    /// Of a group: to whom it went out last.
    var roster: Roster?
    /// In which it went out last.
    var epoch = ""
}

/// A session's sends: from the frame to the commit and its answer.
extension Session {
    var path: SendPath { SendPath(services: services) }

    func submit(_ send: ClientFrame.Send, id: FrameID?) {
        submit(send.cid, send.target, id: id) { path, user, conversation throws(SendRefusal) in
            try path.admit(send.content, send.cid, in: conversation, from: user)
        }
    }

    func submit(
        _ change: MessageChange,
        of mid: MessageID,
        in conversation: ConversationID,
        cid: ClientMessageID,
        id: FrameID?
    ) {
        submit(cid, .conversation(conversation), id: id) { path, user, conversation throws(SendRefusal) in
            try path.admit(change, of: mid, cid, in: conversation, from: user)
        }
    }

    private func submit(
        _ messageID: ClientMessageID,
        _ target: ClientFrame.Target,
        id: FrameID?,
        admit: (SendPath, UserID, ConversationID) throws(SendRefusal) -> SendRequest
    ) {
        guard let user = identity?.user else { return }
        let cid = FrameID(messageID)
        guard sends.count < services.configuration.maximumUnansweredSends else {
            return refuse(
                FrameError(.rateLimited, "too many unanswered sends", id: id, cid: cid),
                retryMilliseconds: 100,
                .send
            )
        }
        let conversation: ConversationID
        switch target {
        case .user(user): return refuse(FrameError(.invalid, "to: that is yourself", id: id, cid: cid))
        case .user(let other): conversation = .direct(user, other)
        case .conversation(let named): conversation = named
        }
        let request: SendRequest
        do throws(SendRefusal) {
            request = try admit(path, user, conversation)
        } catch {
            return refuse(error, id: id, cid: cid)
        }
        // Redis may ask for a look-up of a late cid or a message that is named, and for an unknown conversation.
        let age = WallClock.milliseconds() - messageID.milliseconds
        let isLate = age > services.commit.dedupWindow - 30_000
        run(
            sends.submit(
                PendingSend(request: request, id: id, time: readTime),
                isAlone: isLate || request.named != nil
                    || !(conversation.isDirect ? hub.isKnown(conversation) : hasRoster(conversation))
            )
        )
    }

    private func run(_ actions: [SendQueue<PendingSend>.Action]) {
        for action in actions {
            switch action {
            case .issue(let send, let ticket): issue(send, ticket)
            case .prepare(let send, let ticket): prepare(send, ticket)
            }
        }
    }

    private func issue(_ send: PendingSend, _ ticket: UInt64) {
        guard send.request.conversation.isDirect else { return issueToGroup(send, ticket) }
        let send = goingOut(send)
        let command = path.command(for: send.request, roster: nil, epoch: send.epoch)
        hub.connection(of: self).send(command, repeatable: true) { self.answered($0, send, ticket) }
    }

    /// What holds of a send at the moment in which it is given to Redis.
    func goingOut(_ send: PendingSend) -> PendingSend {
        var send = send
        send.epoch = services.epochs.epoch
        send.request.isHeard = hub.isHearing(self)
        return send
    }

    func answered(_ result: Result<RESPValue, RedisError>, _ send: PendingSend, _ ticket: UInt64) {
        let conversation = send.request.conversation
        switch path.judge(result, of: send.request) {
        case .committed(let result):
            if conversation.isDirect { hub.markKnown(conversation) }
            confirm(result, send, ticket)
            passOnOwn(result, send)
        case .wanting(let request, let roster):
            if let roster {
                hub.learn(roster, of: conversation, refused: send.roster?.version)
            } else if request.need == .conversation {
                hub.forget(conversation)
            }
            run(sends.bounced(ticket, PendingSend(request: request, id: send.id, time: send.time)))
        case .refused(let refusal):
            if case .failure = result { lookForOwn(send) }
            refuse(send, ticket, refusal)
        }
    }

    /// Does what Redis wanted first, off the event loop.
    private func prepare(_ send: PendingSend, _ ticket: UInt64) {
        guard send.request.need != nil else { return run(sends.prepared(ticket, send)) }
        let preparation = SendPreparation(services: services)
        let promise = eventLoop.makePromise(of: SendPreparation.Outcome.self)
        promise.completeWithTask { await preparation.run(send.request) }
        promise.futureResult.assumeIsolated().whenSuccess { outcome in
            switch outcome {
            case .ready(let request, let roster):
                if let roster { self.hub.learn(roster, of: request.conversation) }
                let ready = PendingSend(request: request, id: send.id, time: send.time)
                self.run(self.sends.prepared(ticket, ready))
            case .repeated(let result): self.confirm(result, send, ticket)
            case .refused(let refusal): self.refuse(send, ticket, refusal)
            }
        }
    }

    // MARK: Answers

    private func confirm(_ result: SendResult, _ send: PendingSend, _ ticket: UInt64) {
        guard services.configuration.acknowledgement != .committed else { return finish(result, send, ticket) }
        let path = self.path
        let promise = eventLoop.makePromise(of: SendRefusal?.self)
        promise.completeWithTask {
            do throws(SendRefusal) {
                try await path.confirm(result)
                return nil
            } catch {
                return error
            }
        }
        promise.futureResult.assumeIsolated().whenSuccess { refusal in
            if let refusal { self.refuse(send, ticket, refusal) } else { self.finish(result, send, ticket) }
        }
    }

    /// Nobody was woken for the event in the sender's own queue, or perhaps nobody, where the first answer was lost.
    private func passOnOwn(_ result: SendResult, _ send: PendingSend) {
        let sender = send.request.sender
        if let q = result.ownPosition {
            let event = send.request.ownEvent(of: result)
            hub.publish(PublishedEntry(epoch: send.epoch, q: q, event: event), to: sender)
            // This session has gone since, or was deaf: the one that listened may have been the user's elsewhere.
            guard !hub.isHearing(self) else { return }
            let payload = "\(send.epoch) \(q) \(String(buffer: event))"
            hub.anyConnection.send(RedisCommand("PUBLISH", Keys.channel(sender), payload)) { _ in }
        } else if result.isRepeat {
            hub.checkPositions(of: sender)
        }
    }

    /// It may be committed yet, with an answer that comes too late for anybody.
    private func lookForOwn(_ send: PendingSend) {
        guard send.request.isHeard else { return }
        for seconds in [1, 6] as [Int64] {
            eventLoop.assumeIsolated().scheduleTask(in: .seconds(seconds)) {
                self.hub.checkPositions(of: send.request.sender)
            }
        }
    }

    private func finish(_ result: SendResult, _ send: PendingSend, _ ticket: UInt64) {
        metrics.committed(result)
        metrics.acknowledged(send.time)
        write(ServerFrame(.sent(ServerFrame.Sent(result, of: send.request)), id: send.id))
        run(sends.finished(ticket))
        closeWhenAnswered()
    }

    private func refuse(_ send: PendingSend, _ ticket: UInt64, _ refusal: SendRefusal) {
        refuse(refusal, id: send.id, cid: FrameID(send.request.cid))
        run(sends.finished(ticket))
        closeWhenAnswered()
    }

    private func refuse(_ refusal: SendRefusal, id: FrameID?, cid: FrameID) {
        refuse(
            FrameError(refusal.code, refusal.message, id: id, cid: cid),
            retryMilliseconds: refusal.retryMilliseconds,
            .send
        )
    }
}

extension ServerFrame.Sent {
    init(_ result: SendResult, of request: SendRequest) {
        self.init(
            cid: request.cid,
            conv: request.conversation,
            mid: request.change == nil ? result.mid : request.named ?? result.mid,
            seq: result.seq,
            ts: result.timestamp,
            rev: request.change == nil ? nil : result.mid.revision,
            dup: result.isRepeat
        )
    }
}
