import NIOCore

#if canImport(Glibc)
    import Glibc
#endif

/// The time as HTTP writes it (RFC 9110, 5.6.7), made once a second.
struct HTTPDate {
    private var second: time_t = 0
    private var text = ByteBuffer()

    mutating func now() -> ByteBuffer {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME_COARSE, &time)
        guard time.tv_sec != second else { return text }
        second = time.tv_sec
        var parts = tm()
        gmtime_r(&second, &parts)
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        text = ByteBuffer(
            string: "\(days[Int(parts.tm_wday)]), \(two(parts.tm_mday)) \(months[Int(parts.tm_mon)]) "
                + "\(1900 + parts.tm_year) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT"
        )
        return text
    }
}
