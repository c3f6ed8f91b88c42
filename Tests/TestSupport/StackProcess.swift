import Foundation

/// A whole stack of a test's own, driven through Scripts/stack: Redis, PostgreSQL, gateways and workers.
///
/// It ends by `down()`, and with the test process however that dies.
public final class StackProcess: Sendable {
    /// What stack.json says, as far as tests need it.
    public struct Description: Decodable, Sendable {
        public struct Gateway: Decodable, Sendable {
            public let name: String
            public let url: String
            public let pid: Int32
            public let log: String
        }
        public struct Worker: Decodable, Sendable {
            public let name: String
            public let pid: Int32
            public let log: String
        }
        public struct Redis: Decodable, Sendable {
            public let port: Int
            public let pid: Int32
            public let data: String
        }
        public struct Postgres: Decodable, Sendable {
            public let url: String
            public let pid: Int32
            public let data: String
        }
        public let gateways: [Gateway]
        public let workers: [Worker]
        public let redis: Redis
        public let postgres: Postgres
    }

    private let directory: TemporaryDirectory

    public init() throws {
        directory = try TemporaryDirectory(
            purpose: "stack",
            atEnd: "\(PackageRoot.path)/Scripts/stack down --wipe --dir \"$1/stack\""
        )
    }

    /// The stack's `--dir`: stack.json, logs and data.
    public var path: String { "\(directory.path)/stack" }

    /// Starts the stack with this build configuration's `parley`; returns when every process is ready.
    ///
    /// - Parameters:
    ///   - options: further options of `Scripts/stack up`, such as `--rate-limits`.
    ///   - settings: `PARLEY_…=value` of every process.
    public func up(
        gateways: Int = 2,
        workers: Int = 1,
        options: [String] = [],
        settings: [String] = []
    ) async throws {
        try await stack(
            "up",
            ["--gateways", String(gateways), "--workers", String(workers), "--build", Self.binaries] + options,
            settings: settings
        )
    }

    /// Ends everything and removes its data.
    public func down() async throws {
        try await stack("down", ["--wipe"])
        directory.remove()
    }

    /// Starts a stopped or killed process again; returns when it is ready.
    public func start(_ name: String) async throws { try await stack("start", [name]) }
    /// Starts one more gateway or worker; returns when it is ready.
    public func add(_ kind: String) async throws { try await stack("add", [kind]) }
    /// SIGTERM, which drains; returns when the process has ended.
    public func stop(_ name: String) async throws { try await stack("stop", [name]) }
    /// SIGKILL; returns when the process is gone.
    public func kill(_ name: String) async throws { try await stack("kill", [name]) }
    /// SIGSTOP.
    public func pause(_ name: String) async throws { try await stack("pause", [name]) }
    /// SIGCONT.
    public func resume(_ name: String) async throws { try await stack("resume", [name]) }

    /// The stack as it is now: pids change with every start.
    public func description() throws -> Description {
        try JSONDecoder().decode(
            Description.self,
            from: Data(contentsOf: URL(fileURLWithPath: "\(path)/stack.json"))
        )
    }

    /// What redis-cli answers.
    @discardableResult
    public func redis(_ command: String...) async throws -> String { try await redis(command) }

    @discardableResult
    public func redis(_ command: [String]) async throws -> String {
        let result = try await run(["redis-cli", "-p", String(try description().redis.port)] + command)
        guard result.status == 0 else { throw TestSupportError("redis-cli \(command): \(result.output)") }
        return result.output
    }

    /// What psql prints of a query, without anything around it.
    public func sql(_ query: String) async throws -> String {
        let result = try await run(["psql", "-qXAt", try description().postgres.url, "-c", query])
        guard result.status == 0 else { throw TestSupportError("psql \(query): \(result.output)") }
        return result.output
    }

    private func stack(_ command: String, _ arguments: [String], settings: [String] = []) async throws {
        // Settings stand in front, as `env` takes them.
        let program = settings + ["\(PackageRoot.path)/Scripts/stack"]
        let result = try await run(program + [command, "--dir", path] + arguments)
        guard result.status == 0 else { throw TestSupportError("Scripts/stack \(command): \(result.output)") }
    }

    /// The build products beside the running test bundle, so that tests drive what was built with them.
    private static var binaries: String {
        let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") }
        if let bundle { return URL(fileURLWithPath: bundle).deletingLastPathComponent().path }
        return "debug"
    }
}
