import Foundation
import Synchronization

/// What went wrong while a test's own server was started or steered.
public struct TestSupportError: Error, CustomStringConvertible {
    public let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// Where the checkout lies: Ops/redis.conf, Scripts/stack and the rest are found from here.
public enum PackageRoot {
    public static let path = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path
}

/// Polls `condition` until it holds.
///
/// - Returns: whether it held within `limit`. The limit is generous because machines are noisy; it only
///   decides how long a failing test takes.
public func eventually(
    within limit: Duration = .seconds(30),
    every pause: Duration = .milliseconds(20),
    _ condition: () async throws -> Bool
) async throws -> Bool {
    let end = ContinuousClock.now + limit
    while true {
        if try await condition() { return true }
        if ContinuousClock.now >= end { return false }
        try await Task.sleep(for: pause)
    }
}

/// A directory under the system's temporary one that is gone when the test process is, however that ends.
struct TemporaryDirectory: Sendable {
    let path: String

    /// - Parameter atEnd: a command that a watchdog runs before it removes the directory, should the test
    ///   process die without having removed it; `$1` in it is the directory.
    init(purpose: String, atEnd: String = "") throws {
        var template = Array("\(NSTemporaryDirectory())parley-\(purpose)-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestSupportError("mkdtemp: \(String(cString: strerror(errno)))") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        // A server that runs as another user must get through to its own part.
        guard chmod(path, 0o755) == 0 else { throw TestSupportError("chmod \(path)") }
        try watch(atEnd: atEnd)
    }

    func remove() {
        try? FileManager.default.removeItem(atPath: path)
    }

    /// A tiny shell polls the parent, because nothing in this process can act once it is killed: PDEATHSIG
    /// is bound to the thread that forked, which Swift's runtime may end at any time.
    private func watch(atEnd: String) throws {
        let watchdog = Process()
        watchdog.executableURL = URL(fileURLWithPath: "/bin/sh")
        watchdog.arguments = [
            "-c",
            """
            trap '' INT TERM HUP
            while kill -0 "$2" 2>/dev/null; do
                [ -d "$1" ] || exit 0
                sleep 1
            done
            sleep 1
            for file in "$1"/*.pid; do
                if [ -s "$file" ]; then kill -9 "$(cat "$file")"; fi
            done
            \(atEnd)
            while [ -d "$1" ]; do rm -rf "$1" || sleep 1; done
            """,
            "watchdog", path, String(ProcessInfo.processInfo.processIdentifier),
        ]
        watchdog.standardInput = FileHandle.nullDevice
        watchdog.standardOutput = FileHandle.nullDevice
        watchdog.standardError = FileHandle.nullDevice
        try watchdog.runWithSignals()
    }
}

/// Two tests that start a server at the same time would take one for the other's.
private let givenPorts = Mutex<Set<Int>>([])

/// A loopback port that nobody listens on, below the range from which outgoing connections take theirs: a
/// server that restarts must find its port free again, and below those of Scripts/stack. Each is given once.
func freePort() throws -> Int {
    for _ in 0..<200 {
        let port = Int.random(in: 20_000..<26_000)
        let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard socket >= 0 else { throw TestSupportError("socket: \(String(cString: strerror(errno)))") }
        defer { close(socket) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if bound == 0, givenPorts.withLock({ $0.insert(port).inserted }) { return port }
    }
    throw TestSupportError("no free port between 20000 and 26000")
}
