import NIOCore
import ParleyClient
import ParleyWire

/// Reads a conversation over HTTP as one of its members, from whichever gateway answers.
struct HistoryReader: Sendable {
    let conversation: ConversationID
    var credentials: Credentials
    let gateways: [Target]
    /// Which gateway to ask first.
    var gateway: Int
    /// Shared between readers, one a gateway.
    let apis: [ParleyAPI]
    let group: any EventLoopGroup
    /// Stop trying then.
    let deadline: NIODeadline

    /// What stands above `seq`, oldest first.
    mutating func read(after seq: Int64) async throws -> [HistoryEntry] {
        var history: [HistoryEntry] = []
        var position = HistoryPosition.afterSeq(seq)
        while true {
            let page = try await page(position)
            if let last = page.messages.last { position = .after(last.mid) }
            // Entries of other types (who came, who went) have no place of their own among the messages.
            for entry in page.messages where entry.type ?? "message" == "message" {
                var body = entry.body ?? ""
                let tag = body.withUTF8 { MessageTag(body: .init($0)) }
                history.append(HistoryEntry(mid: entry.mid.rawValue, seq: entry.seq, tag: tag))
            }
            guard page.more, !page.messages.isEmpty else { return history }
        }
    }

    private mutating func page(_ position: HistoryPosition) async throws -> HistoryPage {
        var didRefresh = false
        while true {
            let api = apis[gateway]
            do throws(ClientError) {
                return try await api.history(of: conversation, at: position, token: credentials.token)
            } catch {
                switch error.code {
                case .refused(.unauthorized) where !didRefresh:
                    // A long run outlives the access token.
                    didRefresh = true
                    credentials = try await credentials.refreshed(at: gateways[gateway], on: group)
                case .refused(.unavailable), .refused(.overloaded), .refused(.rateLimited), .connectionFailed,
                    .connectionClosed, .timedOut:
                    guard NIODeadline.now() < deadline else { throw error }
                    gateway = (gateway + 1) % gateways.count
                    try await Task.sleep(for: .milliseconds(error.retryMilliseconds ?? 200))
                default:
                    throw error
                }
            }
        }
    }
}
