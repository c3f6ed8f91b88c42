import ParleyCore
import ParleyWire

/// What a send may need before Redis can commit it: its conversation made known, its cid looked up in history.
struct SendPreparation {
    enum Outcome: Sendable {
        case ready(SendRequest)
        /// The cid was committed before; this is its first result.
        case repeated(SendResult)
        case refused(ErrorCode, String)
    }

    let services: GatewayServices

    func run(_ request: SendRequest) async throws -> Outcome {
        var request = request
        if let now = request.lookUpFrom {
            let found: StoredMessage?
            do {
                found = try await services.history.find(
                    request.cid,
                    from: request.sender,
                    in: request.conversation
                )
            } catch HistoryError.beyondRetention {
                return .refused(.invalid, "cid: too old to tell whether it was sent before; take a new one")
            }
            if let found {
                guard found.content.hash == request.contentHash else {
                    return .refused(.conflict, "this cid was sent before with other content")
                }
                return .repeated(
                    SendResult(mid: found.mid, seq: found.seq, timestamp: found.timestamp, isRepeat: true)
                )
            }
            request.lookUpFrom = nil
            request.lookedUpAt = now
            return .ready(request)
        }
        do {
            request.membershipVersion = try await services.conversations.prepare(
                request.conversation,
                for: request.sender
            )
            return .ready(request)
        } catch ConversationStore.Refusal.notFound {
            return .refused(.notFound, "no such conversation or user")
        } catch ConversationStore.Refusal.epochChanged {
            services.learnEpoch()
            return .refused(.unavailable, "the sync epoch has changed")
        }
    }
}
