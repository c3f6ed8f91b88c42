import NIOCore
import ParleyCore
import ParleyWire
import Synchronization

/// Who may come in. Asked before anything is done for a connection or a socket.
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
    private let doors: Mutex<Doors>

    init(_ configuration: AdmissionConfiguration) {
        self.configuration = configuration
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

    /// A socket signed in.
    ///
    /// - Parameter resumes: as it says.
    func began(_ visit: Visit?, resumes: Bool) {
        visit?.becameKnown()
        guard configuration.isOn, !resumes else { return }
        doors.withLock { $0.gate?.beganFresh(at: Self.now()) }
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
