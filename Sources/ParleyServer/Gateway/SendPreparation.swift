import ParleyCore
import ParleyWire

/// What a send may need before Redis can commit it: its conversation made known, its cid looked up in history.
struct SendPreparation {
    enum Outcome: Sendable {
        case ready(SendRequest)
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
        } catch ConversationStore.Refusal.epochChanged {
            services.learnEpoch()
            return .refused(.epochChanged)
        } catch {
            return .refused(SendRefusal(error))
        }
    }

    private func attempt(_ request: SendRequest) async throws -> Outcome {
        var request = request
        guard let now = request.lookUpFrom else {
            request.membershipVersion = try await services.conversations.prepare(
                request.conversation,
                for: request.sender
            )
            return .ready(request)
        }
        if let found = try await services.history.find(request.cid, from: request.sender, in: request.conversation) {
            guard found.content.hash == request.contentHash else { return .refused(.conflict) }
            return .repeated(SendResult(mid: found.mid, seq: found.seq, timestamp: found.timestamp, isRepeat: true))
        }
        request.lookUpFrom = nil
        request.lookedUpAt = now
        return .ready(request)
    }
}
