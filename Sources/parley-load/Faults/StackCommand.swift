import Foundation

/// Scripts/stack, steering the processes of one stack.
struct StackCommand: Sendable {
    private let executable: String
    private let directory: String

    /// - Parameters:
    ///   - executable: as from a shell in the current directory.
    ///   - stackPath: of stack.json.
    /// - Throws: where there is no such program.
    init(_ executable: String, stackPath: String) throws(LoadError) {
        guard FileManager.default.isExecutableFile(atPath: executable) else {
            throw LoadError(
                "there is no program \(executable) to steer the stack with: run from the checkout, or say "
                    + "--stack-command"
            )
        }
        self.executable = executable
        directory = URL(fileURLWithPath: stackPath).deletingLastPathComponent().path
    }

    /// Runs a command to its end, whether or not the task is cancelled meanwhile, and holds no thread for it.
    ///
    /// - Throws: with what it printed where it failed.
    func run(_ action: FaultScript.Action, _ process: String) async throws(LoadError) {
        let output: FileHandle
        let status: Int32
        do {
            output = try Self.temporaryFile()
            status = try await withCheckedThrowingContinuation { done in
                let child = Process()
                child.executableURL = URL(fileURLWithPath: executable)
                child.arguments = [action.rawValue, process, "--dir", directory]
                child.standardInput = FileHandle.nullDevice
                child.standardOutput = output
                child.standardError = output
                child.terminationHandler = { done.resume(returning: $0.terminationStatus) }
                do { try child.run() } catch { done.resume(throwing: error) }
            }
        } catch {
            throw LoadError("\(executable) does not run: \(error.localizedDescription)")
        }
        guard status != 0 else { return }
        try? output.seek(toOffset: 0)
        let printed = String(decoding: output.readDataToEndOfFile(), as: UTF8.self)
        throw LoadError(
            "\(action) \(process) failed with exit status \(status): "
                + printed.trimmingCharacters(in: .whitespacesAndNewlines)
        )
    }

    /// Without a name. A pipe could fill.
    private static func temporaryFile() throws(LoadError) -> FileHandle {
        guard let file = tmpfile() else { throw LoadError("no temporary file: \(String(cString: strerror(errno)))") }
        defer { fclose(file) }
        return FileHandle(fileDescriptor: dup(fileno(file)), closeOnDealloc: true)
    }
}
