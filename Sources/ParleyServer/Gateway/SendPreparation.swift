import ParleyCore
import ParleyWire

/// What a send may need before Redis can commit it: its conversation made known, its cid looked up in history.
struct SendPreparation {
    enum Outcome: Sendable {
        /// Of a group with who is in it.
        case ready(SendRequest, Roster?)
        /// The cid was committed before; this is its first result.
        case repeated(SendResult)
        case refused(SendRefusal)
    }

    let services: GatewayServices

    func run(_ request: SendRequest) async -> Outcome {
        do {
            return try await attempt(request)
        } catch ConversationStore.Refusal.notFound {
            return .refused(SendRefusal(.notFound, "no such conversation or user"))
        } catch ConversationStore.Refusal.notMember {
            return .refused(SendRefusal(.notMember, "you are no longer in this group"))
        } catch ConversationStore.Refusal.forbidden {
            return .refused(.forbidden)
        } catch ConversationStore.Refusal.epochChanged {
            services.learnEpoch()
            return .refused(.epochChanged)
        } catch HistoryError.beyondRetention {
            return .refused(
                SendRefusal(.invalid, "cid: too old to tell whether it was sent before; take a new one")
            )
        } catch {
            return .refused(SendRefusal(error))
        }
    }

    private func attempt(_ request: SendRequest) async throws -> Outcome {
        var request = request
        let (need, conversation, sender) = (request.need, request.conversation, request.sender)
        request.need = nil
        switch need {
        case nil: return .ready(request, nil)
        case .named(let since):
            let found = try await named(by: request)
            if let refusal = refusal(of: found, by: request) { return .refused(refusal) }
            if let found { request.settle(named: found, since: since) }
            return .ready(request, nil)
        case .conversation where conversation.isDirect:
            request.membershipVersion = try await services.conversations.prepare(conversation, for: sender)
            return .ready(request, nil)
        case .conversation:
            return .ready(request, try await services.conversations.prepareGroup(conversation, for: sender))
        case .lookup(let now):
            if let found = try await services.history.find(request.cid, from: sender, in: conversation) {
                guard found.contentHash ?? request.contentHash == request.contentHash else {
                    return .refused(.conflict)
                }
                let timestamp = found.mid.unixMilliseconds
                return .repeated(SendResult(mid: found.mid, seq: found.seq, timestamp: timestamp, isRepeat: true))
            }
            request.lookedUpAt = now
            return .ready(request, nil)
        }
    }

    /// The entry that a reply or a change names, if its sender may see it.
    private func named(by request: SendRequest) async throws -> StoredMessage? {
        guard let mid = request.named else { return nil }
        var membership = ConversationStore.Membership()
        if !request.conversation.isDirect {
            membership = try await services.conversations.membership(of: request.sender, in: request.conversation)
        }
        let found = try await services.history.entry(mid, in: request.conversation)
        return found.flatMap { membership.shows($0) ? $0 : nil }
    }

    private func refusal(of found: StoredMessage?, by request: SendRequest) -> SendRefusal? {
        guard request.change != nil else {
            guard found?.type == .message else {
                return SendRefusal(.invalid, "reply_to: no message of this conversation")
            }
            return nil
        }
        return MessageChange.refusal(
            of: found,
            by: request.sender,
            now: WallClock.milliseconds(),
            window: services.configuration.changeWindow
        )
    }
}
