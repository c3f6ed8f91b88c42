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
        } catch ConversationStore.Refusal.epochChanged {
            services.learnEpoch()
            return .refused(.epochChanged)
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
        case .conversation where conversation.isDirect:
            request.membershipVersion = try await services.conversations.prepare(conversation, for: sender)
            return .ready(request, nil)
        case .conversation:
            return .ready(request, try await services.conversations.prepareGroup(conversation, for: sender))
        case .lookup(let now):
            if let found = try await services.history.find(request.cid, from: sender, in: conversation) {
                guard found.content.hash == request.contentHash else { return .refused(.conflict) }
                return .repeated(
                    SendResult(mid: found.mid, seq: found.seq, timestamp: found.timestamp, isRepeat: true)
                )
            }
            request.lookedUpAt = now
            return .ready(request, nil)
        }
    }
}
