import NIOCore
import ParleyCore
import ParleyWire
import RedisClient

/// A send on its way, with what its answer echoes.
struct PendingSend: Sendable {
    var request: SendRequest
    let id: FrameID?
    /// Of a group: to whom it went out last.
    var roster: Roster?
}

/// A session's sends: from the frame to the commit and its answer.
extension Session {
    /// Redis may want something first a few times in a row (the conversation, a look-up, a membership that changes
    /// while it is written in), not more.
    private static let bounceLimit = 16

    func submit(_ send: ClientFrame.Send, id: FrameID?) {
        guard let user = identity?.user else { return }
        let cid = FrameID(send.cid)
        guard sends.count < services.configuration.maximumUnansweredSends else {
            return refuse(
                FrameError(.rateLimited, "too many unanswered sends", id: id, cid: cid),
                retryMilliseconds: 100
            )
        }
        if services.isBacklogged {
            let error = FrameError(.overloaded, "too much waits for the archive", id: id, cid: cid)
            return refuse(error, retryMilliseconds: 5000)
        }
        let conversation: ConversationID
        switch send.target {
        case .user(user): return refuse(FrameError(.invalid, "to: that is yourself", id: id, cid: cid))
        case .user(let other): conversation = .direct(user, other)
        case .conversation(let named): conversation = named
        }
        guard !conversation.isDirect || conversation.peer(of: user) != nil else {
            return refuse(FrameError(.notFound, "no such conversation", id: id, cid: cid))
        }
        let request = SendRequest(conversation: conversation, sender: user, cid: send.cid, content: send.content)
        // Redis may ask for a look-up of the one, and for the conversation of the other.
        let age = WallClock.milliseconds() - send.cid.milliseconds
        let isLate = age > services.commit.dedupWindow - 30_000
        run(
            sends.submit(
                PendingSend(request: request, id: id),
                isAlone: isLate || !(conversation.isDirect ? hub.isKnown(conversation) : hasRoster(conversation))
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
        guard let members = send.request.conversation.members else { return issueToGroup(send, ticket) }
        let command = services.commit.command(
            for: send.request,
            recipients: [members.lo, members.hi],
            epoch: services.epochs.epoch
        )
        hub.connection(of: self).send(command, repeatable: true) { result in
            self.answered(result, send, ticket)
        }
    }

    func answered(_ result: Result<RESPValue, RedisError>, _ send: PendingSend, _ ticket: UInt64) {
        switch result {
        case .failure(let error): refuse(send, ticket, error)
        case .success(let reply):
            switch SendAnswer(reply) {
            case .done(let result, let pending):
                services.epochs.acknowledged(result.mid)
                if send.request.conversation.isDirect { hub.markKnown(send.request.conversation) }
                confirm(result, send, ticket)
                if !pending.isEmpty { services.deliverLater(send.request.conversation, pending) }
            case .conflict: refuse(send, ticket, .conflict, "this cid was sent before with other content")
            case .future: refuse(send, ticket, .invalid, "cid: its time is more than a day ahead")
            case .lookup(let now): bounce(send, ticket, .lookup(from: now))
            case .stale(let version, let members) where !send.request.conversation.isDirect:
                let (group, sender) = (send.request.conversation, send.request.sender)
                let roster = Roster(group, version: version, members: members, placement: services.commit.placement)
                hub.learn(roster, of: group, refused: send.roster?.version)
                bounce(send, ticket, roster.contains(sender) ? nil : .conversation)
            case .seed, .stale:
                hub.forget(send.request.conversation)
                bounce(send, ticket, .conversation)
            case .epoch:
                // Every session of the old epoch is about to be closed; this send is to be repeated after the resync.
                services.learnEpoch()
                refuse(send, ticket, .unavailable, "the sync epoch has changed")
            case nil: refuse(send, ticket, .unavailable, "the commit was answered with something unknown")
            }
        }
    }

    private func bounce(_ send: PendingSend, _ ticket: UInt64, _ need: SendRequest.Need?) {
        var send = send
        send.request.bounces += 1
        guard send.request.bounces < Self.bounceLimit else {
            return refuse(send, ticket, .unavailable, "the conversation is changing too quickly")
        }
        send.request.need = need
        run(sends.bounced(ticket, send))
    }

    /// Does what Redis wanted first, off the event loop.
    private func prepare(_ send: PendingSend, _ ticket: UInt64) {
        guard send.request.need != nil else { return run(sends.prepared(ticket, send)) }
        let services = self.services
        let promise = eventLoop.makePromise(of: SendPreparation.Outcome.self)
        promise.completeWithTask { try await SendPreparation(services: services).run(send.request) }
        promise.futureResult.assumeIsolated().whenComplete { result in
            switch result {
            case .success(.ready(let request, let roster)):
                if let roster { self.hub.learn(roster, of: request.conversation) }
                self.run(self.sends.prepared(ticket, PendingSend(request: request, id: send.id)))
            case .success(.repeated(let result)): self.confirm(result, send, ticket)
            case .success(.refused(let code, let why)): self.refuse(send, ticket, code, why)
            case .failure(let error):
                if let error = error as? RedisError {
                    self.refuse(send, ticket, error)
                } else {
                    self.refuse(send, ticket, .unavailable, "a store cannot be reached")
                }
            }
        }
    }

    // MARK: Answers

    private func confirm(_ result: SendResult, _ send: PendingSend, _ ticket: UInt64) {
        let level = services.configuration.acknowledgement
        guard level != .committed else { return finish(result, send, ticket) }
        // A repeat waits too: its first answer may have been lost before the level was reached.
        let acknowledger = services.acknowledger
        let promise = eventLoop.makePromise(of: Bool.self)
        promise.completeWithTask { await acknowledger.wait(for: result.mid, level) }
        promise.futureResult.assumeIsolated().whenSuccess { isReached in
            if isReached {
                self.finish(result, send, ticket)
            } else {
                self.refuse(send, ticket, .unavailable, "committed, but not \(level.rawValue) in time")
            }
        }
    }

    private func finish(_ result: SendResult, _ send: PendingSend, _ ticket: UInt64) {
        let sent = ServerFrame.Sent(
            cid: send.request.cid,
            conv: send.request.conversation,
            mid: result.mid,
            seq: result.seq,
            ts: result.timestamp,
            dup: result.isRepeat
        )
        write(ServerFrame(.sent(sent), id: send.id))
        run(sends.finished(ticket))
    }

    private func refuse(_ send: PendingSend, _ ticket: UInt64, _ error: RedisError) {
        if case .server(let answer) = error.code, answer.isRefusingWrites {
            refuse(send, ticket, .overloaded, "the sync queues are full", retryMilliseconds: 5000)
        } else if error.code == .queueFull {
            refuse(send, ticket, .overloaded, "too much waits for the sync queues")
        } else {
            refuse(send, ticket, .unavailable, "the sync queues cannot be reached; the outcome is unknown")
        }
    }

    private func refuse(
        _ send: PendingSend,
        _ ticket: UInt64,
        _ code: ErrorCode,
        _ message: String,
        retryMilliseconds: Int64 = 1000
    ) {
        let error = FrameError(code, message, id: send.id, cid: FrameID(send.request.cid))
        let isTransient = code == .unavailable || code == .overloaded
        refuse(error, retryMilliseconds: isTransient ? retryMilliseconds : nil)
        run(sends.finished(ticket))
    }
}
