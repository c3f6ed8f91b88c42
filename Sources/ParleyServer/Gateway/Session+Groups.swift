import NIOCore
import ParleyWire
import RedisClient

/// Sends of a session to one group that Redis has not answered. All name the same roster: were a later one of a newer
/// version, it could be committed while an earlier one is refused.
struct GroupFlight {
    let roster: Roster?
    var count = 0
}

/// What a session does in groups: whoever acts there must be a member, and Redis says so where it acts.
extension Session {
    // MARK: Sends

    /// Whether the hub knows this user as a member.
    func hasRoster(_ group: ConversationID) -> Bool {
        guard let user = identity?.user else { return false }
        return hub.roster(of: group)?.contains(user) ?? false
    }

    func issueToGroup(_ send: PendingSend, _ ticket: UInt64) {
        let (group, sender) = (send.request.conversation, send.request.sender)
        var send = send
        var flight = groupFlights[group] ?? GroupFlight(roster: hub.roster(of: group))
        // Nothing is committed for whom the roster lacks: Redis says who is in the group now.
        send.roster = flight.roster.flatMap { $0.contains(sender) ? $0 : nil }
        send = goingOut(send)
        flight.count += 1
        groupFlights[group] = flight
        let command = path.command(for: send.request, roster: send.roster, epoch: send.epoch)
        hub.connection(of: self).send(command, repeatable: true) { [send] result in
            self.groupFlights[group]?.count -= 1
            if self.groupFlights[group]?.count == 0 { self.groupFlights[group] = nil }
            self.answered(result, send, ticket)
        }
    }

    // MARK: Reading and typing

    func readInGroup(_ group: ConversationID, _ user: UserID, _ seq: Int64, id: FrameID?) {
        let command = RedisFunctions.readGroup(group, user, seq, epoch: epoch, queueCap: services.commit.queueCap)
        askAsMember(of: group, command, id: id) { self.services.groupReceipts.read($0, by: user, in: group) }
    }

    func typingInGroup(_ group: ConversationID, _ user: UserID, _ notice: UserNotice, id: FrameID?) {
        let command = RedisFunctions.call(
            "typing_group",
            keys: [Keys.members(group)],
            [user.description, notice.payload, String(Roster.Addressees.chunk)]
        )
        askAsMember(of: group, command, id: id)
    }

    /// Whom Redis does not know as a member, PostgreSQL does perhaps: then Redis gets to know it and is asked again.
    /// Others are told why they are refused.
    private func askAsMember(
        of group: ConversationID,
        _ command: RedisCommand,
        isSecondTime: Bool = false,
        id: FrameID?,
        answered: @escaping (RESPValue) -> Void = { _ in }
    ) {
        guard beginCall(id: id) else { return }
        hub.connection(of: self).send(command, repeatable: true) { result in
            self.endCall()
            guard case .success(let answer) = result else { return }
            guard !isSecondTime, answer.string == "stranger" else { return answered(answer) }
            self.prove(group, command, id: id, answered)
        }
    }

    private func prove(
        _ group: ConversationID,
        _ command: RedisCommand,
        id: FrameID?,
        _ answered: @escaping (RESPValue) -> Void
    ) {
        guard let user = identity?.user, beginCall(id: id) else { return }
        let conversations = services.conversations
        let promise = eventLoop.makePromise(of: Roster.self)
        promise.completeWithTask { try await conversations.prepareGroup(group, for: user) }
        promise.futureResult.assumeIsolated().whenComplete { result in
            self.endCall()
            switch result {
            case .success: self.askAsMember(of: group, command, isSecondTime: true, id: id, answered: answered)
            case .failure(ConversationStore.Refusal.notFound):
                self.refuse(FrameError(.notFound, "no such conversation", id: id))
            case .failure(ConversationStore.Refusal.notMember):
                self.refuse(FrameError(.notMember, "you are no longer in this group", id: id))
            case .failure:
                let error = FrameError(.unavailable, "the members cannot be looked up", id: id)
                self.refuse(error, retryMilliseconds: 1000)
            }
        }
    }
}

extension RedisFunctions {
    /// How far a member of a group has read. Answers `stranger` for whom Redis does not know as one; `GroupReceipts` makes
    /// use of other answers.
    static func readGroup(
        _ group: ConversationID,
        _ user: UserID,
        _ seq: Int64,
        epoch: String,
        queueCap: Int
    ) -> RedisCommand {
        call(
            "read_group",
            keys: [Keys.epoch, Keys.conversation(group), Keys.members(group), Keys.queue(user)],
            [epoch, group.description, user.description, String(seq), String(queueCap)]
        )
    }
}
