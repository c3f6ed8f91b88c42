import Foundation

/// A PostgreSQL of the tests' own, with the settings of Ops/postgresql.conf, on a free loopback port.
///
/// Tests that only need a database share one server: `PrivatePostgres.database()`. A test that kills or
/// pauses the server makes one for itself. It ends with its last reference, and with the test process
/// however that dies.
public final class PrivatePostgres: Sendable {
    public let port: Int
    private let directory: TemporaryDirectory
    private let process: ServerProcess
    private let password = UUID().uuidString

    private static let shared = Task { try await PrivatePostgres() }

    /// A fresh, empty database on the server that all tests of this process share.
    ///
    /// - Returns: its URL.
    public static func database() async throws -> String {
        try await shared.value.database()
    }

    public init() async throws {
        port = try freePort()
        directory = try TemporaryDirectory(purpose: "postgres")
        let bin = try Self.executables()
        let asUser = Self.privileges
        let data = "\(directory.path)/home/data"
        process = ServerProcess(
            name: "postgres",
            command: asUser + [
                "\(bin)/postgres", "-D", data, "-c", "port=\(port)", "-c", "listen_addresses=127.0.0.1",
                "-c", "unix_socket_directories=",
            ],
            directory: directory.path
        )
        try await initialize(data, bin: bin, asUser: asUser)
        try await start()
    }

    deinit {
        process.killNow()
        directory.remove()
    }

    /// A fresh, empty database on this server.
    ///
    /// - Returns: its URL.
    public func database() async throws -> String {
        let name = "test_" + UUID().uuidString.lowercased().replacingOccurrences(of: "-", with: "")
        try await query("CREATE DATABASE \(name)", url: url(of: "postgres"))
        return url(of: name)
    }

    /// Runs SQL with psql, for looking at what the code under test did.
    ///
    /// - Returns: unaligned rows without a header, a line each.
    @discardableResult
    public func query(_ sql: String, url: String) async throws -> String {
        let result = try await run(["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", url, "-c", sql])
        guard result.status == 0 else { throw TestSupportError("psql: \(result.output)") }
        return result.output
    }

    /// SIGKILL to the server and all its backends; returns when the server is gone.
    public func kill9() async throws {
        try await process.end(signal: SIGKILL)
    }

    /// Starts it again on the same port and data, after a fast shutdown if it runs.
    public func restart() async throws {
        try await process.end(signal: SIGINT)
        try await start()
    }

    /// SIGSTOP to the server and all its backends: connections stay open and nothing answers.
    public func pause() {
        process.signalAll(SIGSTOP)
    }

    public func resume() {
        process.signalAll(SIGCONT)
    }

    private func url(of database: String) -> String {
        "postgres://parley:\(password)@127.0.0.1:\(port)/\(database)"
    }

    private func start() async throws {
        let url = url(of: "postgres")
        try await process.start {
            (try? await query("SELECT 'ready'", url: url)) != nil
        }
    }

    /// Makes the data directory, owned by the user the server will run as.
    private func initialize(_ data: String, bin: String, asUser: [String]) async throws {
        let files = FileManager.default
        let home = "\(directory.path)/home"
        try files.createDirectory(atPath: home, withIntermediateDirectories: false)
        try Data(password.utf8).write(to: URL(fileURLWithPath: "\(home)/password"))
        var attributes: [FileAttributeKey: Any] = [.posixPermissions: 0o700]
        if !asUser.isEmpty { attributes[.ownerAccountName] = "postgres" }
        try files.setAttributes(attributes, ofItemAtPath: home)
        let result = try await run(
            asUser + [
                "\(bin)/initdb", "-D", data, "--username=parley", "--auth=scram-sha-256",
                "--pwfile=\(home)/password", "--encoding=UTF8", "--locale=C.UTF-8", "--lc-collate=C", "--no-sync",
            ]
        )
        guard result.status == 0 else { throw TestSupportError("initdb: \(result.output)") }
        let settings = try String(contentsOfFile: "\(PackageRoot.path)/Ops/postgresql.conf", encoding: .utf8)
        guard let configuration = FileHandle(forWritingAtPath: "\(data)/postgresql.conf") else {
            throw TestSupportError("cannot write \(data)/postgresql.conf")
        }
        configuration.seekToEndOfFile()
        configuration.write(Data(settings.utf8))
    }

    /// initdb and postgres refuse to run as root: then they run as Debian's user for them.
    private static var privileges: [String] {
        getuid() == 0 ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] : []
    }

    /// Debian keeps the server's programs out of PATH, one directory a version: the newest is taken.
    private static func executables() throws -> String {
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: "/usr/lib/postgresql")) ?? []
        if let newest = versions.compactMap({ Int($0) }).max() { return "/usr/lib/postgresql/\(newest)/bin" }
        for path in (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        where FileManager.default.isExecutableFile(atPath: "\(path)/initdb") {
            return String(path)
        }
        throw TestSupportError("PostgreSQL's initdb is not installed: run Scripts/bootstrap")
    }
}
