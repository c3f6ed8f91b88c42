import Foundation

/// A process, told from a later one with the same pid by when it started.
struct ProcessID: Hashable, Sendable {
    var pid: Int32
    /// Clock ticks since the machine's start; nil where nobody noted it.
    var startTicks: Int?
}

/// All processes at one moment: who descends from whom, and what each has used.
struct ProcessTable {
    private struct Entry {
        var parent: Int32
        var ticks: Int
        var startTicks: Int
    }

    private var entries: [Int32: Entry] = [:]
    private var children: [Int32: [Int32]] = [:]

    init() {
        for name in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {
            guard let pid = Int32(name), let entry = Self.read(pid) else { continue }
            entries[pid] = entry
            children[entry.parent, default: []].append(pid)
        }
    }

    private static func read(_ pid: Int32) -> Entry? {
        guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
            let nameEnd = stat.utf8.lastIndex(of: UInt8(ascii: ")"))
        else { return nil }
        // After the name: state, ppid, …; utime, stime and those of children that ended are fields 14 to 17, and the
        // start is field 22.
        let fields = stat.utf8[stat.utf8.index(after: nameEnd)...].split(separator: UInt8(ascii: " "))
        func number(_ field: Int) -> Int { Int(Substring(fields[field - 3])) ?? 0 }
        guard fields.count > 19 else { return nil }
        return Entry(
            parent: Int32(number(4)),
            ticks: number(14) + number(15) + number(16) + number(17),
            startTicks: number(22)
        )
    }

    /// Whether that very process is there, be it ended and not yet taken leave of.
    func holds(_ id: ProcessID) -> Bool {
        guard let entry = entries[id.pid] else { return false }
        return id.startTicks == nil || id.startTicks == entry.startTicks
    }

    /// The processor time of a process, its descendants and those of them that ended.
    func microseconds(ofTree pid: Int32) -> Double {
        let own = Double(entries[pid]?.ticks ?? 0) * 1_000_000 / Double(sysconf(Int32(_SC_CLK_TCK)))
        return children[pid, default: []].reduce(own) { $0 + microseconds(ofTree: $1) }
    }

    /// Nil for a process that has ended.
    static func residentKiB(_ pid: Int32) -> Int? {
        // Pages: all, then resident.
        let fields = (try? String(contentsOfFile: "/proc/\(pid)/statm", encoding: .utf8))?.split(separator: " ")
        guard let fields, fields.count > 1, let pages = Int(fields[1]), pages > 0 else { return nil }
        return pages * sysconf(Int32(_SC_PAGESIZE)) / 1024
    }

    /// This process's own processor time, in microseconds.
    static func ownMicroseconds() -> Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        func microseconds(_ time: timeval) -> Double { Double(time.tv_sec) * 1e6 + Double(time.tv_usec) }
        return microseconds(usage.ru_utime) + microseconds(usage.ru_stime)
    }
}
