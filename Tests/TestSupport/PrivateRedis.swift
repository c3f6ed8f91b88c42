import Foundation

/// A Redis of one test's own, with the settings of Ops/redis.conf, on a free loopback port.
///
/// It ends with its last reference, and with the test process however that dies.
public final class PrivateRedis: Sendable {
    public let port: Int
    private let directory: TemporaryDirectory
    private let process: ServerProcess

    public var url: String { "redis://127.0.0.1:\(port)" }

    /// Holds `appendonlydir`, so that a test can cut the log back while the server is dead.
    public var dataDirectory: String { directory.path }

    /// - Parameter arguments: settings beyond Ops/redis.conf, as on redis-server's command line.
    public init(arguments: [String] = []) async throws {
        port = try freePort()
        directory = try TemporaryDirectory(purpose: "redis")
        process = ServerProcess(
            name: "redis",
            command: [
                "redis-server", "\(PackageRoot.path)/Ops/redis.conf", "--port", String(port), "--dir", directory.path,
            ] + arguments,
            directory: directory.path
        )
        try await start()
    }

    deinit {
        process.killNow()
        directory.remove()
    }

    /// Runs redis-cli against it.
    ///
    /// - Returns: what it printed.
    @discardableResult
    public func command(_ arguments: String...) async throws -> String {
        let result = try await run(["redis-cli", "-p", String(port)] + arguments)
        guard result.status == 0 else { throw TestSupportError("redis-cli: \(result.output)") }
        return result.output
    }

    /// SIGKILL; returns when the process is gone.
    public func kill9() async throws {
        try await process.end(signal: SIGKILL)
    }

    /// Starts it again on the same port and data, after an orderly end if it runs.
    public func restart() async throws {
        try await process.end(signal: SIGTERM)
        try await start()
    }

    /// SIGSTOP: connections stay open and nothing answers.
    public func pause() {
        process.signalAll(SIGSTOP)
    }

    public func resume() {
        process.signalAll(SIGCONT)
    }

    private func start() async throws {
        // Another process's server may have taken the port: only ours has our directory.
        try await process.start { [port, directory] in
            try await run(["redis-cli", "-p", String(port), "config", "get", "dir"]).output.contains(directory.path)
        }
    }
}
