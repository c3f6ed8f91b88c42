import Dispatch
import Foundation
import Synchronization

/// Ctrl-C: ends what is under way, the load or a wait, with the figures so far.
final class Interrupt: Sendable {
    private let count = Atomic(0)

    /// How often it was pressed so far.
    var presses: Int { count.load(ordering: .relaxed) }
    var reason: String? { presses > 0 ? "interrupted" : nil }

    func press() { count.add(1, ordering: .relaxed) }

    /// Takes over SIGINT and SIGTERM for the rest of the process.
    func listen() {
        for number in [SIGINT, SIGTERM] {
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { [self] in
                _ = source  // The source lives as long as its handler.
                press()
            }
            source.resume()
        }
    }

    /// What `work` comes to; nil as soon as it is interrupted: it is then left to itself.
    func during<Value: Sendable>(_ work: @escaping @Sendable () async throws -> Value) async throws -> Value? {
        let before = presses
        let (ends, end) = AsyncThrowingStream.makeStream(of: Value?.self)
        Task {
            do { end.yield(try await work()) } catch { end.finish(throwing: error) }
        }
        let watch = Task {
            while presses == before { try await Task.sleep(for: .milliseconds(50)) }
            end.yield(nil)
        }
        defer { watch.cancel() }
        return try await ends.first { _ in true } ?? nil
    }
}
