internal import Glibc
internal import Synchronization

/// Runs `body` on a detached thread of its own; `false` if the system has no thread to give.
func startThread(_ body: @escaping @Sendable () -> Void) -> Bool {
    final class Box: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    let box = Unmanaged.passRetained(Box(body))
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    pthread_attr_setstacksize(&attributes, 1 << 20)
    var thread = pthread_t()
    let main: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { context in
        if let context { Unmanaged<Box>.fromOpaque(context).takeRetainedValue().body() }
        return nil
    }
    guard pthread_create(&thread, &attributes, main, box.toOpaque()) == 0 else {
        box.release()
        return false
    }
    return true
}

/// The executor of one connection: a thread that may block in libpq without taking one from Swift's pool.
final class ConnectionThread: SerialExecutor {
    private struct State {
        var jobs: [UnownedJob] = []
        var stopped = false
    }

    private let state = Mutex(State())
    private let posted = Semaphore()

    init() throws(PostgresError) {
        let started = startThread { [state = Unmanaged.passRetained(self)] in
            let thread = state.takeRetainedValue()
            while thread.runPosted() {}
        }
        guard started else {
            Unmanaged.passUnretained(self).release()
            throw PostgresError(.connectionFailed, "no thread for a PostgreSQL connection: too many threads")
        }
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        state.withLock { $0.jobs.append(job) }
        posted.post()
    }

    /// Ends the thread once all jobs have run. Called when the actor is gone, so that none can follow.
    func stop() {
        state.withLock { $0.stopped = true }
        posted.post()
    }

    /// `false` when there is nothing left to do, ever.
    private func runPosted() -> Bool {
        posted.wait()
        let (jobs, stopped) = state.withLock { state in
            defer { state.jobs.removeAll(keepingCapacity: false) }
            return (state.jobs, state.stopped)
        }
        for job in jobs { job.runSynchronously(on: asUnownedSerialExecutor()) }
        return !stopped
    }
}

/// A POSIX semaphore.
private final class Semaphore: @unchecked Sendable {
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() { sem_init(semaphore, 0, 0) }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func post() { sem_post(semaphore) }

    func wait() { while sem_wait(semaphore) != 0 {} }
}

/// Wakes a thread that waits in `poll`: a pipe with a byte in it.
final class Waker: Sendable {
    /// Readable once ``wake()`` was called; -1 if the process has no descriptor left, which `poll` ignores.
    let descriptor: Int32
    private let writer: Int32

    init() {
        var ends: [Int32] = [-1, -1]
        _ = pipe(&ends)
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        descriptor = ends[0]
        writer = ends[1]
    }

    deinit {
        close(descriptor)
        close(writer)
    }

    func wake() {
        _ = write(writer, [1], 1)
    }

    func drain() {
        var bytes = [UInt8](repeating: 0, count: 64)
        _ = read(descriptor, &bytes, bytes.count)
    }
}
