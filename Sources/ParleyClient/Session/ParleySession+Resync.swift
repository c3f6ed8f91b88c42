import NIOCore
import ParleyWire

// A resync's requests: at the gateway of the socket, again until they are answered or another connection begins anew.
extension ParleySession {
    private enum Answer {
        case conversations(ConversationPage)
        /// nil for one that is the user's no more.
        case conversation(ConversationEntry?)
        case history(HistoryPage, ConversationID)
        case noConversation
    }

    func resync() {
        resyncs += 1
        Task { [number = resyncs] in await resync(number) }
    }

    private func resync(_ number: Int) async {
        var gateway = directory.base(at: steadyNow)
        var api = ParleyAPI(gateway, group: eventLoop, connections: 1)
        var backoff = configuration.backoff
        while let request = state.resync?.request {
            do throws(ClientError) {
                let answer = try await ask(for: request, api)
                guard number == resyncs, !isClosed else { break }
                take(answer)
            } catch {
                if !error.isRefusal {
                    directory.failed(gateway, at: steadyNow)
                    await api.shutdown()
                    gateway = directory.base(at: steadyNow)
                    api = ParleyAPI(gateway, group: eventLoop, connections: 1)
                }
                var generator = SystemRandomNumberGenerator()
                let delay = error.retryMilliseconds ?? backoff.next(using: &generator)
                try? await Task.sleep(for: .milliseconds(delay))
                guard number == resyncs, !isClosed else { break }
            }
        }
        await api.shutdown()
    }

    private func ask(for request: Resync.Request, _ api: ParleyAPI) async throws(ClientError) -> Answer {
        let token = account.accessToken
        do throws(ClientError) {
            switch request {
            case .conversations(let cursor):
                return .conversations(try await api.conversationPage(after: cursor, token: token))
            case .conversation(let id):
                return .conversation(try await api.conversation(id, token: token))
            case .history(let conversation, let position):
                return .history(try await api.history(of: conversation, at: position, token: token), conversation)
            }
        } catch {
            switch (error.code, request) {
            case (.refused(.notFound), .history), (.refused(.notMember), .history): return .noConversation
            case (.refused(.notFound), .conversation), (.refused(.notMember), .conversation): return .conversation(nil)
            case (.refused(.unauthorized), _): try await renew(token)
            default: break
            }
            throw error
        }
    }

    private func take(_ answer: Answer) {
        let updates =
            switch answer {
            case .conversations(let page): state.read(page)
            case .conversation(let entry): state.read(entry)
            case .history(let page, let conversation): state.read(page, of: conversation)
            case .noConversation: state.lostConversation()
            }
        for update in updates { continuation.yield(update) }
        if state.resync == nil { scheduleAcknowledgement() }
    }
}
