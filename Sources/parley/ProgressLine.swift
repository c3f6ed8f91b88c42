import Foundation
import Synchronization

/// What long work has done so far, on standard error: one line that is written over where that is a terminal, a line now and
/// then where it is not.
final class ProgressLine: Sendable {
    private let isTerminal = isatty(STDERR_FILENO) == 1
    private let last = Mutex<(at: ContinuousClock.Instant, width: Int)?>(nil)

    func show(_ text: String) {
        let pause: Duration = isTerminal ? .milliseconds(100) : .seconds(2)
        last.withLock { last in
            if let last, .now - last.at < pause { return }
            let padding = String(repeating: " ", count: max(0, (last?.width ?? 0) - text.count))
            FileHandle.standardError.write(Data((isTerminal ? "\r\(text)\(padding)" : "\(text)\n").utf8))
            last = (.now, text.count)
        }
    }

    func end() {
        last.withLock { last in
            if isTerminal, last != nil { FileHandle.standardError.write(Data("\n".utf8)) }
            last = nil
        }
    }
}
