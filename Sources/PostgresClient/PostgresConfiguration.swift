internal import CLibpq

/// Where the database is, and the bounds of every wait for it.
public struct PostgresConfiguration: Sendable {
    /// A libpq connection string, `postgres://user:password@host:port/database?sslmode=verify-full`.
    /// All of libpq's options work: several hosts, certificates, `PGPASSFILE` and the like.
    public var url: String
    /// The most connections (and threads, one each) that the pool opens. Default 8.
    public var connections = 8
    /// The longest attempt to reach one address of one host; libpq counts whole seconds, at least 2. Default 5 s.
    /// A task that is cancelled meanwhile waits for the attempt to end.
    public var connectTimeout: Duration = .seconds(5)
    /// The longest wait for a connection of the pool to become free. Default 5 s.
    public var acquireTimeout: Duration = .seconds(5)
    /// How long a statement may run before it is cancelled. Default 30 s.
    public var statementTimeout: Duration = .seconds(30)
    /// How long a cancelled statement may still take to end before its connection is dropped. Default 5 s.
    public var cancelGrace: Duration = .seconds(5)
    /// What `pg_stat_activity` shows, unless the URL says otherwise.
    public var applicationName: String
    /// Told how long each statement took, COMMIT included, on the connection's thread.
    public var onStatement: (@Sendable (Duration) -> Void)?

    public init(
        url: String,
        connections: Int = 8,
        connectTimeout: Duration = .seconds(5),
        acquireTimeout: Duration = .seconds(5),
        statementTimeout: Duration = .seconds(30),
        applicationName: String = "parley"
    ) {
        self.url = url
        self.connections = connections
        self.connectTimeout = connectTimeout
        self.acquireTimeout = acquireTimeout
        self.statementTimeout = statementTimeout
        self.applicationName = applicationName
    }

    /// libpq's options in order: those before `dbname` are defaults that the URL may override, those after it are not.
    var options: [(key: String, value: String)] {
        let seconds = max(2, connectTimeout.components.seconds + (connectTimeout.components.attoseconds > 0 ? 1 : 0))
        return [
            ("connect_timeout", "\(seconds)"), ("application_name", applicationName),
            ("dbname", url), ("client_encoding", "UTF8"),
        ]
    }

    /// Refuses a URL that libpq would misread. An unescaped `/`, `@` or `:` in a password shifts parts of it into the
    /// host, port or database, which error messages name; so nothing of such a URL is repeated.
    public func validate() throws(PostgresError) {
        let invalid = PostgresError(
            .invalidConfiguration,
            "the database URL is not valid; expected postgres://user:password@host:port/database, "
                + "with special characters percent-encoded"
        )
        guard connections > 0 else { throw PostgresError(.invalidConfiguration, "a pool needs at least 1 connection") }
        guard let parsed = PQconninfoParse(url, nil) else { throw invalid }
        defer { PQconninfoFree(parsed) }
        var option = parsed
        while let keyword = option.pointee.keyword {
            let value = option.pointee.val.map { String(cString: $0) } ?? ""
            switch String(cString: keyword) {
            case "port": guard value.allSatisfy({ $0.isASCII && $0.isNumber || $0 == "," }) else { throw invalid }
            case "host", "hostaddr", "dbname": guard !value.contains("@") else { throw invalid }
            default: break
            }
            option += 1
        }
    }
}
