import ParleyCore
import ParleyWire

/// What a send may need before Redis can commit it: its conversation made known, its cid looked up in history.
struct SendPreparation {
    enum Outcome: Sendable {
        /// Of a group with who is in it.
        case ready(SendRequest, Roster?)
        /// The cid was committed before; this is its first result.
        case repeated(SendResult)
        case refused(ErrorCode, String)
    }

    let services: GatewayServices

    func run(_ request: SendRequest) async throws -> Outcome {
        var request = request
        let need = request.need
        request.need = nil
        switch need {
        case nil: return .ready(request, nil)
        case .lookup(let now):
            if let found = try await services.history.find(request.cid, from: request.sender, in: request.conversation)
            {
                guard found.content.hash == request.contentHash else {
                    return .refused(.conflict, "this cid was sent before with other content")
                }
                return .repeated(
                    SendResult(mid: found.mid, seq: found.seq, timestamp: found.timestamp, isRepeat: true)
                )
            }
            request.lookedUpAt = now
            return .ready(request, nil)
        case .conversation: return try await prepareConversation(request)
        }
    }

    private func prepareConversation(_ request: SendRequest) async throws -> Outcome {
        var request = request
        let (store, conversation, sender) = (services.conversations, request.conversation, request.sender)
        do {
            guard conversation.isDirect else {
                return .ready(request, try await store.prepareGroup(conversation, for: sender))
            }
            request.membershipVersion = try await store.prepare(conversation, for: sender)
            return .ready(request, nil)
        } catch let refusal as ConversationStore.Refusal {
            switch refusal {
            case .notFound: return .refused(.notFound, "no such conversation or user")
            case .notMember: return .refused(.notMember, "you are no longer in this group")
            case .epochChanged:
                services.learnEpoch()
                return .refused(.unavailable, "the sync epoch has changed")
            }
        }
    }
}
