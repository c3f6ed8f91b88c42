import Logging
import NIOCore
import NIOSSL

/// Bounds of the connections to push services.
struct PushHTTPConfiguration: Sendable {
    /// A PEM file of authorities to trust instead of the system's; nil for those.
    var authorities: String?
    /// Where users chose the endpoint it may lead to private addresses. For tests.
    var allowsPrivateAddresses = false
    /// To one origin.
    var connections = 2
    /// To an origin that does not speak HTTP/2, and so takes one request of a connection at a time.
    var slowConnections = 16
    /// Requests under way on one connection, if the other end allows as many.
    var inFlight = 500
    /// Connections to origins that nobody has sent to for so long are closed.
    var idle = TimeAmount.minutes(10)
    var connectTimeout = TimeAmount.seconds(5)
    /// For an answer.
    var timeout = TimeAmount.seconds(15)
    /// For the answer and the turn before it.
    var patience = TimeAmount.seconds(90)
}

/// HTTP/2 (or 1.1, where that is all the other end speaks) over connections that stay, with a bound of what is under way.
///
/// Everything happens on one event loop.
final class PushHTTPClient: @unchecked Sendable {
    private let eventLoop: any EventLoop
    private let configuration: PushHTTPConfiguration
    private let tls: NIOSSLContext
    private var pools: [PushURL.Origin: PushConnectionPool] = [:]
    private var isClosed = false
    private var sweep: RepeatedTask?

    /// - Throws: what is wrong with the authorities' file.
    init(eventLoop: any EventLoop, configuration: PushHTTPConfiguration) throws {
        self.eventLoop = eventLoop
        self.configuration = configuration
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.applicationProtocols = ["h2", "http/1.1"]
        if let file = configuration.authorities { tls.trustRoots = .file(file) }
        self.tls = try NIOSSLContext(configuration: tls)
    }

    /// - Throws: `PushError`.
    func send(_ request: PushRequest) async throws -> PushResponse {
        try await eventLoop.flatSubmit { self.enqueue(request) }.get()
    }

    private func enqueue(_ request: PushRequest) -> EventLoopFuture<PushResponse> {
        guard !isClosed else { return eventLoop.makeFailedFuture(PushError.transport("the client is closed")) }
        if sweep == nil {
            sweep = eventLoop.scheduleRepeatedTask(initialDelay: .minutes(1), delay: .minutes(1)) { [weak self] _ in
                self?.closeIdle()
            }
        }
        let origin = request.url.origin
        let pool =
            pools[origin]
            ?? PushConnectionPool(
                origin: origin,
                isForeign: request.isForeign,
                eventLoop: eventLoop,
                tls: tls,
                configuration: configuration
            )
        pools[origin] = pool
        return pool.enqueue(request)
    }

    private func closeIdle() {
        for (origin, pool) in pools where pool.isIdle(for: configuration.idle) {
            pool.close()
            pools[origin] = nil
        }
    }

    func close() async {
        _ = try? await eventLoop.submit {
            self.isClosed = true
            self.sweep?.cancel()
            for pool in self.pools.values { pool.close() }
            self.pools = [:]
        }.get()
    }
}
