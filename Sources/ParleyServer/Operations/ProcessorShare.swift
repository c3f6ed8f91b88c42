import NIOCore

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Processor time of this process, kernel's part included, between one look and the next.
struct ProcessorShare {
    private var used = Self.used
    private var asOf = NIODeadline.now()

    /// Since the last look; 100 is a core.
    mutating func percent() -> Int {
        let (used, now) = (Self.used, NIODeadline.now())
        defer { (self.used, asOf) = (used, now) }
        let wall = (now - asOf).nanoseconds
        return wall > 0 ? Int((used - self.used) * 100 / wall) : 0
    }

    /// Since the start, in nanoseconds.
    static var used: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
