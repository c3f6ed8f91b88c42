import NIOCore
import ParleyClient
import ParleyWire

/// Reads conversations back over HTTP and holds them against the ledger.
struct HistoryCheck {
    /// Conversations read at most; above that a random sample.
    static let sample = 2_000
    /// Readers at once.
    static let window = 16

    let group: any EventLoopGroup

    /// - Parameter seats: as the ledger numbers its devices.
    func run(
        _ ledger: DeliveryLedger,
        seats: [Seat]
    ) async throws(ClientError) -> (violations: Violations, conversations: Int) {
        var apis: [GatewayAddress: ParleyAPI] = [:]
        for seat in seats where apis[seat.gateway.address] == nil {
            apis[seat.gateway.address] = ParleyAPI(seat.gateway.address, group: group, connections: Self.window)
        }
        let byPair = ledger.indicesByPair()
        var pairs = byPair.indices.filter { !byPair[$0].isEmpty }
        if pairs.count > Self.sample { pairs = Array(pairs.shuffled().prefix(Self.sample)) }
        let (chosen, readers) = (pairs, apis)
        let outcome = await withTaskGroup(of: Result<Violations, ClientError>.self) { tasks in
            for worker in 0..<min(Self.window, chosen.count) {
                tasks.addTask {
                    var violations = Violations()
                    do throws(ClientError) {
                        for place in stride(from: worker, to: chosen.count, by: Self.window) {
                            let pair = chosen[place]
                            let (seat, partner) = (seats[2 * pair], seats[2 * pair + 1])
                            guard let api = readers[seat.gateway.address] else { continue }
                            let history = try await Self.read(seat, partner, from: api)
                            violations += ledger.judge(history: history, ofPair: pair, indices: byPair[pair])
                        }
                        return .success(violations)
                    } catch {
                        return .failure(error)
                    }
                }
            }
            var results: [Result<Violations, ClientError>] = []
            for await result in tasks { results.append(result) }
            return results
        }
        for api in apis.values { await api.shutdown() }
        var violations = Violations()
        for result in outcome { violations += try result.get() }
        return (violations, chosen.count)
    }

    private static func read(
        _ seat: Seat,
        _ partner: Seat,
        from api: ParleyAPI
    ) async throws(ClientError) -> [(mid: UInt64, seq: Int64, tag: MessageTag?)] {
        let conversation = ConversationID.direct(seat.user, partner.user)
        var history: [(mid: UInt64, seq: Int64, tag: MessageTag?)] = []
        var token = seat.token
        while true {
            let position = HistoryPosition.afterSeq(history.last?.seq ?? 0)
            let page: HistoryPage
            do throws(ClientError) {
                page = try await api.history(of: conversation, at: position, token: token)
            } catch {
                // A long run outlives the access token.
                guard error.code == .refused(.unauthorized), token == seat.token else { throw error }
                token = try await api.refresh(seat.refreshToken).accessToken
                continue
            }
            for entry in page.messages {
                var body = entry.body ?? ""
                history.append((entry.mid.rawValue, entry.seq, body.withUTF8 { MessageTag(body: .init($0)) }))
            }
            guard page.more, !page.messages.isEmpty else { return history }
        }
    }
}
