/// Which gateway a session tries next; no I/O. The order is the server's own, as any gateway last told it; where nobody
/// tells, the addresses that the session began with. What failed lately comes last, the longest ago first.
struct GatewayDirectory {
    /// Milliseconds for which a failure counts.
    static let memory: Int64 = 30_000

    private let seeds: [GatewayAddress]
    private var told: [GatewayAddress] = []
    private var failures: [GatewayAddress: Int64] = [:]

    init(seeds: [GatewayAddress]) { self.seeds = seeds }

    /// Takes what `GET /v1/gateways` answered; nothing is no news.
    mutating func learn(_ gateways: [GatewayAddress]) {
        if !gateways.isEmpty { told = gateways }
    }

    /// A connection to it failed, or it sent us away.
    mutating func failed(_ gateway: GatewayAddress, at now: Int64) { failures[gateway] = now }

    mutating func succeeded(_ gateway: GatewayAddress) { failures[gateway] = nil }

    /// All of them, the one to try first in front. Times are milliseconds of any steady clock.
    func order(at now: Int64) -> [GatewayAddress] { ranked(told + seeds, at: now) }

    /// Where HTTP goes: to what the session began with before others, for those may serve sockets alone.
    func base(at now: Int64) -> GatewayAddress { ranked(seeds + told, at: now)[0] }

    private func ranked(_ gateways: [GatewayAddress], at now: Int64) -> [GatewayAddress] {
        var seen: Set<GatewayAddress> = []
        let all = gateways.filter { seen.insert($0).inserted }
        func failure(_ gateway: GatewayAddress) -> Int64? {
            failures[gateway].flatMap { now - $0 < Self.memory ? $0 : nil }
        }
        let failed = all.filter { failure($0) != nil }.sorted { (failure($0) ?? 0) < (failure($1) ?? 0) }
        return all.filter { failure($0) == nil } + failed
    }
}
