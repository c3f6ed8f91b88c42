import ParleyCore
import ParleyWire
import RedisClient

/// The way of a send to its commit, the same for sockets and for HTTP. They differ in who waits: a session keeps its
/// sends in order (`SendQueue`), an HTTP request stands alone (`commit`).
struct SendPath: Sendable {
    /// What Redis's answer means for a send.
    enum Verdict: Sendable {
        case committed(SendResult)
        /// Redis wants something first: prepare the send, then try again. Of a group perhaps with who is in it now.
        case wanting(SendRequest, Roster?)
        case refused(SendRefusal)
    }

    let services: GatewayServices

    /// Redis may want something first a few times in a row (the conversation, a look-up, a membership that changes
    /// while it is written in), not more.
    private static let bounceLimit = 16

    /// Checks what can be checked without a store.
    func admit(
        _ content: MessageContent,
        _ cid: ClientMessageID,
        in conversation: ConversationID,
        from user: UserID
    ) throws(SendRefusal) -> SendRequest {
        try admit(user, to: conversation)
        return SendRequest(conversation: conversation, sender: user, cid: cid, content: content)
    }

    /// Checks of a change what can be checked without a store.
    func admit(
        _ change: MessageChange,
        of mid: MessageID,
        _ cid: ClientMessageID,
        in conversation: ConversationID,
        from user: UserID
    ) throws(SendRefusal) -> SendRequest {
        try admit(user, to: conversation)
        return SendRequest(conversation: conversation, sender: user, cid: cid, change, of: mid)
    }

    private func admit(_ user: UserID, to conversation: ConversationID) throws(SendRefusal) {
        guard !services.isBacklogged else {
            throw SendRefusal(.overloaded, "too much waits for the archive", retryMilliseconds: 5000)
        }
        guard !conversation.isDirect || conversation.peer(of: user) != nil else {
            throw SendRefusal(.notFound, "no such conversation")
        }
    }

    /// - Parameters:
    ///   - roster: to whom it goes, of a group; nil asks for the members in force and commits nothing.
    ///   - epoch: the only one in which it may be committed.
    func command(for request: SendRequest, roster: Roster?, epoch: String) -> RedisCommand {
        guard let members = request.conversation.members else {
            return services.commit.command(for: request, roster: roster, epoch: epoch)
        }
        return services.commit.command(for: request, recipients: [members.lo, members.hi], epoch: epoch)
    }

    func judge(_ result: Result<RESPValue, RedisError>, of request: SendRequest) -> Verdict {
        let reply: RESPValue
        switch result {
        case .success(let value): reply = value
        case .failure(let error): return .refused(SendRefusal(error))
        }
        switch SendAnswer(reply) {
        case .done(let result, let pending):
            services.epochs.acknowledged(result.mid)
            if !pending.isEmpty { services.deliverLater(request.conversation, pending) }
            return .committed(result)
        case .conflict: return .refused(.conflict)
        case .forbidden: return .refused(.forbidden)
        case .future: return .refused(SendRefusal(.invalid, "cid: its time is more than a day ahead"))
        case .lookup(let now): return bounced(request, .lookup(from: now))
        case .named(let since): return bounced(request, .named(since: since))
        case .stale(let version, let members) where !request.conversation.isDirect:
            let placement = services.commit.placement
            let roster = Roster(request.conversation, version: version, members: members, placement: placement)
            return bounced(request, roster.contains(request.sender) ? nil : .conversation, roster)
        case .seed, .stale: return bounced(request, .conversation)
        case .epoch:
            // Every session of the old epoch is about to be closed; this send is to be repeated after the resync.
            services.learnEpoch()
            return .refused(.epochChanged)
        case nil: return .refused(SendRefusal(.unavailable, "the commit was answered with something unknown"))
        }
    }

    private func bounced(_ request: SendRequest, _ need: SendRequest.Need?, _ roster: Roster? = nil) -> Verdict {
        var request = request
        request.bounces += 1
        guard request.bounces < Self.bounceLimit else {
            return .refused(SendRefusal(.unavailable, "the conversation is changing too quickly"))
        }
        request.need = need
        return .wanting(request, roster)
    }

    /// Waits until a commit has reached the level that this deployment acknowledges at. A repeat waits too: its first
    /// answer may have been lost before the level was reached.
    func confirm(_ result: SendResult) async throws(SendRefusal) {
        let level = services.configuration.acknowledgement
        guard await services.acknowledger.wait(for: result.mid, level) else {
            throw SendRefusal(.unavailable, "committed, but not \(level.rawValue) in time")
        }
    }

    /// Commits a send that keeps no order with others, and waits for the configured level.
    func commit(_ request: SendRequest) async throws(SendRefusal) -> SendResult {
        var request = request
        var roster: Roster?
        while true {
            let reply: Result<RESPValue, RedisError>
            do throws(RedisError) {
                let command = command(for: request, roster: roster, epoch: services.epochs.epoch)
                reply = .success(try await services.redis.send(command, repeatable: true))
            } catch {
                reply = .failure(error)
            }
            switch judge(reply, of: request) {
            case .committed(let result):
                try await confirm(result)
                return result
            case .refused(let refusal): throw refusal
            case .wanting(let wanting, let current):
                roster = current ?? roster
                switch await SendPreparation(services: services).run(wanting) {
                case .ready(let ready, let current):
                    request = ready
                    roster = current ?? roster
                case .repeated(let result):
                    try await confirm(result)
                    return result
                case .refused(let refusal): throw refusal
                }
            }
        }
    }
}
