import HTTPTypes
import Hummingbird
import NIOCore
import ParleyCore
import ParleyWire
import RedisClient
import Synchronization

/// Who may come in, and what is done for them now. Asked before anything is done.
final class Admission: Sendable {
    private struct Doors {
        var counts: AddressCounts
        var gate: HandshakeGate?
    }

    enum Answer {
        case welcome(Visit?)
        case refused(HTTPProblem)
    }

    let configuration: AdmissionConfiguration
    let refusals = Refusals()
    /// nil where nothing is limited.
    let limiter: RateLimiter?
    private let doors: Mutex<Doors>
    /// A bit for each load that is given up.
    private let shedding = Atomic<UInt8>(0)

    /// - Parameter redis: for limits of all gateways together; each gateway has its own without.
    init(_ configuration: AdmissionConfiguration, redis: RedisClient? = nil) {
        self.configuration = configuration
        limiter = redis.flatMap { configuration.isOn ? RateLimiter(limits: configuration.limits, redis: $0) : nil }
        doors = Mutex(
            Doors(
                counts: AddressCounts(limits: configuration.addresses),
                gate: configuration.limits[.handshake].map(HandshakeGate.init)
            )
        )
    }

    /// Microseconds of a clock of this process.
    static func now() -> Int64 { Int64(NIODeadline.now().uptimeNanoseconds / 1000) }

    /// A connection comes. One of a trusted proxy carries anybody's requests and counts for nobody.
    func connected(from peer: ClientAddress?) -> Answer {
        guard configuration.isOn, let peer, !configuration.proxies.contains(peer) else { return .welcome(nil) }
        return visit(peer, .connection)
    }

    /// A connection's first request asks for a socket, and has everything right.
    ///
    /// - Parameter visit: that of `connected`.
    func handshake(_ visit: Visit?, from peer: ClientAddress?, forwarded: [String]) -> Answer {
        guard configuration.isOn else { return .welcome(nil) }
        let wait = doors.withLock {
            var generator = SystemRandomNumberGenerator()
            return $0.gate?.enter(at: Self.now(), using: &generator)
        }
        if let wait {
            return refuse(.handshake, "Too many connect to this gateway at once.", after: wait)
        }
        guard visit == nil, let peer else { return .welcome(visit) }
        return self.visit(configuration.proxies.client(of: peer, forwarded: forwarded), .handshake)
    }

    /// A session begins that will read its lists and history.
    func beganFresh() {
        guard configuration.isOn else { return }
        doors.withLock { $0.gate?.beganFresh(at: Self.now()) }
    }

    // MARK: What is done for them

    /// For what was given up for now. Not everybody comes back at once.
    static var shed: HTTPProblem {
        HTTPProblem(.overloaded, "The service is busy.", retryMilliseconds: .random(in: 2000...8000))
    }

    func shed(_ loads: Set<LoadShedder.Load>) {
        let bits = LoadShedder.Load.allCases.enumerated().reduce(0 as UInt8) {
            loads.contains($1.element) ? $0 | 1 << UInt8($1.offset) : $0
        }
        shedding.store(bits, ordering: .relaxed)
    }

    func sheds(_ activity: Activity) -> Bool {
        let bits = shedding.load(ordering: .relaxed)
        guard bits != 0, let load = activity.load, let index = LoadShedder.Load.allCases.firstIndex(of: load)
        else { return false }
        return bits & 1 << UInt8(index) != 0
    }

    /// A request of somebody who is signed in.
    ///
    /// - Throws: `overloaded`, `rate_limited`.
    func admit(_ request: Request, of user: UserID) async throws(HTTPProblem) {
        guard let limiter else { return }
        let activity = Activity(request)
        guard !sheds(activity) else { throw Self.shed }
        let demand = RateLimiter.Demand(activity: activity, subject: user.description)
        if activity.isCostly { try await limiter.require([demand]) } else { try limiter.require(here: demand) }
    }

    /// A request of somebody who is not.
    func admit(_ activity: Activity, _ request: Request, _ context: ParleyRequestContext) async throws(HTTPProblem) {
        guard let limiter else { return }
        guard !sheds(activity) else { throw Self.shed }
        try await limiter.require([.init(activity: activity, subject: address(request, context))])
    }

    /// Something frequent that a stranger may ask for: this gateway decides alone, for each address.
    func admitStranger(_ activity: Activity, _ request: Request, _ context: ParleyRequestContext) throws(HTTPProblem) {
        guard let limiter else { return }
        try limiter.require(here: .init(activity: activity, subject: address(request, context)))
    }

    /// A password for an account, which perhaps does not exist; nil for what cannot be the name of one.
    func admitLogin(to account: String?, _ request: Request, _ context: ParleyRequestContext) async throws(HTTPProblem)
    {
        guard let limiter else { return }
        guard !sheds(.login) else { throw Self.shed }
        try await limiter.requireLogin(to: account, from: address(request, context))
    }

    func signedIn(to account: String, _ request: Request, _ context: ParleyRequestContext) async {
        await limiter?.remember(address(request, context), asKnownTo: account)
    }

    private func address(_ request: Request, _ context: ParleyRequestContext) -> String {
        client(context.channel, request.headers[values: .xForwardedFor])
    }

    /// Whom a request on a connection is from.
    func client(_ channel: any Channel, _ forwarded: [String]) -> String {
        guard let peer = ClientAddress(channel.remoteAddress) else { return "unknown" }
        return configuration.proxies.client(of: peer, forwarded: forwarded).network.description
    }

    private func visit(_ address: ClientAddress, _ activity: Activity) -> Answer {
        let address = address.network
        guard doors.withLock({ $0.counts.opened(address) }) else {
            return refuse(activity, "Too many connections from \(address).", after: .random(in: 1_000_000...5_000_000))
        }
        return .welcome(Visit(address: address, admission: self))
    }

    private func refuse(_ activity: Activity, _ detail: String, after wait: Int64) -> Answer {
        refusals.count(activity, .overloaded)
        return .refused(HTTPProblem(.overloaded, detail, retryMilliseconds: Int((wait + 999) / 1000)))
    }

    fileprivate func becameKnown(_ address: ClientAddress) {
        doors.withLock { $0.counts.becameKnown(address) }
    }

    fileprivate func ended(_ address: ClientAddress, wasStranger: Bool) {
        doors.withLock { $0.counts.closed(address, wasStranger: wasStranger) }
    }
}

/// A connection, as it counts for its address; confined to the connection's event loop.
final class Visit: @unchecked Sendable {
    private let address: ClientAddress
    private let admission: Admission
    private var isStranger = true

    fileprivate init(address: ClientAddress, admission: Admission) {
        self.address = address
        self.admission = admission
    }

    func becameKnown() {
        guard isStranger else { return }
        isStranger = false
        admission.becameKnown(address)
    }

    func end(with channel: any Channel) {
        channel.closeFuture.assumeIsolated().whenComplete { _ in
            self.admission.ended(self.address, wasStranger: self.isStranger)
        }
    }
}

extension ClientAddress {
    /// nil for what is no internet address.
    init?(_ address: SocketAddress?) {
        guard let text = address?.ipAddress else { return nil }
        self.init(text)
    }
}

extension HTTPField.Name {
    fileprivate static let xForwardedFor = Self("X-Forwarded-For")!
}
