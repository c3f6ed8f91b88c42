import Foundation
import Synchronization

/// One server process that tests start, kill, pause and start again on the same data.
final class ServerProcess: Sendable {
    private let name: String
    private let command: [String]
    private let directory: String
    private let state = Mutex<Process?>(nil)

    /// - Parameters:
    ///   - name: names the log and the pid file in `directory`.
    ///   - command: executable, searched in PATH, and arguments.
    ///   - directory: a `TemporaryDirectory`'s path; its watchdog ends what the pid files name.
    init(name: String, command: [String], directory: String) {
        self.name = name
        self.command = command
        self.directory = directory
    }

    var isRunning: Bool { state.withLock { $0?.isRunning ?? false } }

    var log: String {
        (try? String(contentsOfFile: "\(directory)/\(name).log", encoding: .utf8)) ?? ""
    }

    /// Starts the process and waits until `ready`. One that ends while starting is started again within the
    /// limit: PostgreSQL refuses its data directory until the last process of its killed forerunner is gone.
    func start(ready: () async throws -> Bool) async throws {
        let up = try await eventually(within: .seconds(60), every: .milliseconds(50)) {
            if !isRunning { try launch() }
            return try await ready()
        }
        guard up else { throw TestSupportError("\(name) does not answer:\n\(log.suffix(2_000))") }
    }

    private func launch() throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        // The process writes its own pid before it becomes the server, so the watchdog never misses one.
        process.arguments =
            ["-c", #"echo $$ > "$0.pid"; exec "$@" >> "$0.log" 2>&1"#, "\(directory)/\(name)"] + command
        process.standardInput = FileHandle.nullDevice
        try process.runWithSignals()
        state.withLock { $0 = process }
    }

    /// Ends the process with `signal` (SIGKILL at the latest after 20 s), with all its children, and waits.
    func end(signal: Int32) async throws {
        guard let process = state.withLock({ $0 }), process.isRunning else { return }
        let family = signal == SIGKILL ? Self.family(of: process.processIdentifier) : [process.processIdentifier]
        for pid in family { kill(pid, signal) }
        if try await !eventually(within: .seconds(20), { !process.isRunning }) {
            for pid in Self.family(of: process.processIdentifier) { kill(pid, SIGKILL) }
            guard try await eventually({ !process.isRunning }) else { throw TestSupportError("\(name) does not end") }
        }
        try? FileManager.default.removeItem(atPath: "\(directory)/\(name).pid")
    }

    /// Sends `signal` to the process and all its children (SIGSTOP, SIGCONT).
    func signalAll(_ signal: Int32) {
        guard let process = state.withLock({ $0 }), process.isRunning else { return }
        for pid in Self.family(of: process.processIdentifier) { kill(pid, signal) }
    }

    /// Kills at once, without waiting: for `deinit`.
    func killNow() {
        signalAll(SIGKILL)
    }

    /// `root` and its descendants, parents first.
    private static func family(of root: Int32) -> [Int32] {
        var children: [Int32: [Int32]] = [:]
        for entry in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {
            guard let pid = Int32(entry), let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
                let name = stat.lastIndex(of: ")")
            else { continue }
            let fields = stat[stat.index(after: name)...].split(separator: " ")
            if fields.count > 1, let parent = Int32(fields[1]) { children[parent, default: []].append(pid) }
        }
        var family = [root]
        var next = 0
        while next < family.count {
            family += children[family[next]] ?? []
            next += 1
        }
        return family
    }
}

/// Runs a command to its end without holding a thread of the concurrency pool.
///
/// - Returns: standard output and the exit status; standard error goes into the output.
func run(_ command: [String]) async throws -> (output: String, status: Int32) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = command
    let output = try TemporaryFile()
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output.handle
    process.standardError = output.handle
    let status = try await withCheckedThrowingContinuation { (done: CheckedContinuation<Int32, any Error>) in
        process.terminationHandler = { done.resume(returning: $0.terminationStatus) }
        do { try process.runWithSignals() } catch { done.resume(throwing: error) }
    }
    return (output.text, status)
}

extension Process {
    /// `run()`, but no signal is blocked in the child.
    ///
    /// The threads that Swift's tasks run on block most signals, and a child inherits its parent thread's mask:
    /// SIGTERM would never reach it.
    func runWithSignals() throws {
        var none = sigset_t()
        var mine = sigset_t()
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, &mine)
        defer { pthread_sigmask(SIG_SETMASK, &mine, nil) }
        try run()
    }
}

/// An unnamed file. A pipe would be held open by a server that the command leaves behind, and could fill.
private struct TemporaryFile {
    let handle: FileHandle

    init() throws {
        guard let file = tmpfile() else { throw TestSupportError("tmpfile: \(String(cString: strerror(errno)))") }
        let descriptor = dup(fileno(file))
        fclose(file)
        handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    }

    var text: String {
        try? handle.seek(toOffset: 0)
        return String(decoding: handle.readDataToEndOfFile(), as: UTF8.self)
    }
}
