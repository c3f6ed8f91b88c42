import Dispatch
import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Writes lines to a file descriptor on a thread of its own: who reads the log slowly stops nothing here. Of what does
/// not fit meanwhile, the number is written later.
public final class LogSink: Sendable {
    private struct State {
        var pending: [UInt8] = []
        var isWriting = false
        /// Not yet written about.
        var missing = 0
        var dropped = 0
    }

    public static let standardError = LogSink(descriptor: STDERR_FILENO)

    private let descriptor: CInt
    private let limit: Int
    private let queue = DispatchQueue(label: "log")
    private let state = Mutex(State())

    /// - Parameter limit: bytes that may wait.
    init(descriptor: CInt, limit: Int = 1 << 20) {
        self.descriptor = descriptor
        self.limit = limit
    }

    /// Lines that did not fit.
    var dropped: Int { state.withLock { $0.dropped } }

    /// Something is still to be written, if only how much was dropped.
    var isWriting: Bool { state.withLock { $0.isWriting } }

    func write(_ line: String) {
        let mustStart = state.withLock { state in
            guard state.pending.count + line.utf8.count <= limit else {
                state.missing += 1
                state.dropped += 1
                return false
            }
            state.pending += line.utf8
            defer { state.isWriting = true }
            return !state.isWriting
        }
        if mustStart { queue.async { self.drain() } }
    }

    private func drain() {
        while true {
            let bytes: [UInt8] = state.withLock { state in
                var bytes = state.pending
                state.pending = []
                if state.missing > 0 { bytes += "\(state.missing) lines of the log did not fit here\n".utf8 }
                state.missing = 0
                if bytes.isEmpty { state.isWriting = false }
                return bytes
            }
            guard !bytes.isEmpty else { return }
            write(bytes)
        }
    }

    private func write(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { buffer in
                #if canImport(Glibc)
                    Glibc.write(descriptor, buffer.baseAddress, buffer.count)
                #else
                    Darwin.write(descriptor, buffer.baseAddress, buffer.count)
                #endif
            }
            guard written > 0 || errno == EINTR || errno == EAGAIN else { return }
            if written < 0, errno == EAGAIN { usleep(10_000) }
            rest = rest.dropFirst(max(0, written))
        }
    }

    /// Returns when everything is written, or after a second: the end of a process waits no longer for a reader.
    public func flush() {
        let done = DispatchSemaphore(value: 0)
        queue.async { done.signal() }
        _ = done.wait(timeout: .now() + 1)
    }
}
