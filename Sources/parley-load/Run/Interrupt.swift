import Dispatch
import Foundation
import Synchronization

/// Ctrl-C: the first ends a run early, with the figures so far; the second also its waiting.
final class Interrupt: Sendable {
    private let count = Atomic(0)

    var reason: String? { count.load(ordering: .relaxed) > 0 ? "interrupted" : nil }
    var isTwice: Bool { count.load(ordering: .relaxed) > 1 }

    /// Takes over SIGINT and SIGTERM for the rest of the process.
    func listen() {
        for number in [SIGINT, SIGTERM] {
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { [self] in
                _ = source  // The source lives as long as its handler.
                count.add(1, ordering: .relaxed)
            }
            source.resume()
        }
    }
}
