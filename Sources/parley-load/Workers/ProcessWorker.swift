import Foundation

/// A share of a run in a process of its own: this program again, which reads its plan and then requests from its
/// standard input, a line of JSON each, and answers each with one.
actor ProcessWorker: LoadWorker {
    private let process = Process()
    private let input = Pipe()
    private let output: AsyncStream<String>
    private var answers: AsyncStream<String>.Iterator?

    init(_ plan: LoadPlan) throws {
        let pipe = Pipe()
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["share"]
        process.standardInput = input
        process.standardOutput = pipe
        output = lines(of: pipe.fileHandleForReading)
        do {
            try process.run()
            try input.fileHandleForWriting.write(contentsOf: jsonLine(plan))
        } catch {
            throw LoadError("another generator process could not be started: \(error.localizedDescription)")
        }
        answers = output.makeAsyncIterator()
    }

    deinit { try? input.fileHandleForWriting.close() }

    func perform(_ request: WorkerRequest) async throws -> WorkerAnswer {
        do {
            try input.fileHandleForWriting.write(contentsOf: jsonLine(request))
        } catch {
            throw LoadError("generator process \(process.processIdentifier) has ended")
        }
        var answers = answers
        let line = await answers?.next(isolation: self)
        self.answers = answers
        guard let line else { throw LoadError("generator process \(process.processIdentifier) has ended") }
        return try JSONDecoder().decode(WorkerAnswer.self, from: Data(line.utf8))
    }

    /// The child's side: serves requests until there are no more.
    static func serve(on worker: (LoadPlan) -> any LoadWorker) async throws {
        // When nobody asks any more, this process ends, whatever it is at.
        var requests = lines(of: .standardInput, atEnd: { _exit(0) }).makeAsyncIterator()
        guard let first = await requests.next() else { return }
        let worker = worker(try JSONDecoder().decode(LoadPlan.self, from: Data(first.utf8)))
        while let line = await requests.next() {
            let request = try JSONDecoder().decode(WorkerRequest.self, from: Data(line.utf8))
            var answer: WorkerAnswer
            do {
                answer = try await worker.perform(request)
            } catch {
                answer = .failed("\(error)")
            }
            try FileHandle.standardOutput.write(contentsOf: jsonLine(answer))
        }
    }
}

private func jsonLine(_ value: some Encodable) throws -> Data {
    try JSONEncoder().encode(value) + [UInt8(ascii: "\n")]
}

/// Reads on a thread of its own: pipes have no readiness that Swift's concurrency could wait for.
private func lines(
    of file: FileHandle,
    atEnd: @escaping @Sendable () -> Void = {}
) -> AsyncStream<String> {
    let (stream, continuation) = AsyncStream.makeStream(of: String.self)
    let thread = Thread {
        var buffer = Data()
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = read(file.fileDescriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            buffer += chunk[..<count]
            while let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                continuation.yield(String(decoding: buffer[..<end], as: UTF8.self))
                buffer.removeSubrange(...end)
            }
        }
        continuation.finish()
        atEnd()
    }
    thread.start()
    return stream
}
