public import Logging
import NIOCore
public import PostgresClient

/// Everything a process can be told from outside, in the structs that use it, which say the defaults. `Setting.sections`
/// says of each what it is called and what it may be.
public struct Settings: Sendable {
    public var configFile: String?
    public var logLevel = Logger.Level.info
    public var logFormat = LogFormat.text
    /// The process's name; nil for `gateway-1` or `worker-1`.
    public var name: String?
    public var bindAddress = "127.0.0.1"
    /// The gateway's; 0 for any that is free.
    public var port = 8080
    /// The worker's, for its health; nil for none.
    public var healthPort: Int?
    /// Where clients reach the gateway; nil for where it listens.
    public var publicURL: String?
    /// Event loops of a gateway. One serves many thousand sessions; more processes scale further than more threads.
    public var threads = 1

    public var redisURL = "redis://127.0.0.1:6379"
    /// For what may be lost: presence's channels, the registry of gateways, rate limits; nil for the same.
    public var volatileRedisURL: String?
    /// For suggestions and what they are made of; nil for the same.
    public var suggestRedisURL: String?
    /// Pipelined connections of each event loop.
    public var redisConnections = 2
    public var postgres = PostgresConfiguration(url: "postgres://127.0.0.1:5432/parley")

    var tokenKeys: TokenKeys?
    var passwordCost = ScryptCost.full
    var gateway = GatewayConfiguration()
    var admission = AdmissionConfiguration()
    var commit = CommitConfiguration()
    var groups = GroupConfiguration()
    var friends = FriendConfiguration()
    var push = PushConfiguration()
    var gathering = GatheringConfiguration()
    var building = BuildConfiguration()
    var suggest = SuggestConfiguration()
    var roles = Set(WorkerProcess.Role.allCases)
    var partitionPeriod = PartitionKeeper.Period.month
    /// nil for all history.
    var retentionDays: Int?

    public init() {}

    /// What is wrong, a line each, for a person.
    public struct Problem: Error, CustomStringConvertible {
        public let lines: [String]

        public init(_ lines: String...) { self.lines = lines }
        public init(lines: [String]) { self.lines = lines }

        public var description: String { lines.joined(separator: "\n") }
    }

    /// Reads what these processes are told: options win over the environment, and that over the file that
    /// `PARLEY_CONFIG_FILE` names (lines of `PARLEY_NAME=value`).
    ///
    /// - Parameter options: as `SettingSource.options` makes them of a command line.
    /// - Throws: `Problem`, with every problem there is.
    public init(
        for readers: Set<Setting.Reader>,
        options: SettingSource = .init(),
        environment: [String: String]
    ) throws(Problem) {
        var values = GivenSettings()
        let variables = SettingSource(environment: environment)
        if let path = (options + variables)["PARLEY_CONFIG_FILE"] { values.add(values.file(path)) }
        values.add(variables)
        values.add(options)
        self = try values.settings(for: readers)
        gateway.name = name ?? "gateway-1"
        gateway.publicURL = publicURL ?? "http://\(bindAddress):\(port)"
    }
}
