import PostgresClient

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// What a gateway may have open at once, by the descriptors that its process is given (`ulimit -n`).
///
/// A process without a free one cannot log in at a store, and may end: the Swift runtime looks at its own threads through
/// files. So connections stop before that, and sessions before them, that who has to be refused is told so.
public struct OpenFiles: Sendable {
    /// Connections of clients.
    let connections: Int
    /// Of them sessions; the rest is for requests, and for those who are sent away.
    let capacity: Int
    private let limit: Int
    /// What was asked for.
    private let wanted: Int

    /// - Parameter limit: descriptors.
    /// - Throws: `Settings.Problem` where it leaves next to nothing.
    init(limit: Int, for settings: Settings) throws(Settings.Problem) {
        let own = 100 + 20 * settings.threads + settings.postgres.connections
        self.limit = limit
        connections = limit - own
        guard connections >= 10 else {
            throw Settings.Problem("`ulimit -n` is \(limit): a gateway needs \(own), and one for each connection.")
        }
        wanted = settings.gateway.capacity
        capacity = min(wanted, connections - min(500, connections / 4))
    }

    /// With as many descriptors as this process may take.
    public init(for settings: Settings) throws(Settings.Problem) {
        try self.init(limit: Self.hardLimit, for: settings)
    }

    /// For the person who runs it; nil where the capacity is what was asked for.
    public var warning: String? {
        guard capacity < wanted else { return nil }
        return "PARLEY_CAPACITY is \(wanted), and `ulimit -n` of \(limit) leaves room for \(capacity) sessions"
    }

    /// Takes as many descriptors as this process may have.
    static func raiseLimit() {
        guard var limits else { return }
        limits.rlim_cur = limits.rlim_max
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limits)
    }

    /// Descriptors that may be open now.
    static var softLimit: Int? { limits.map { Int(clamping: $0.rlim_cur) } }
    private static var hardLimit: Int { limits.map { Int(clamping: $0.rlim_max) } ?? .max }

    private static var limits: rlimit? {
        var limits = rlimit()
        return getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limits) == 0 ? limits : nil
    }
}
