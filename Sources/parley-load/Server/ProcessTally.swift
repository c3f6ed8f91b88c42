/// Adds up the processor time of a stack's processes, those that ended and those that took their place.
struct ProcessTally {
    private struct Key: Hashable {
        var group: ServerGroup
        var id: ProcessID
    }

    /// By process; one that ended keeps its last reading.
    private var readings: [Key: Double] = [:]

    mutating func observe(_ stack: StackDescription, in table: ProcessTable) {
        for (_, group, id) in stack.processes where table.holds(id) {
            let key = Key(group: group, id: id)
            readings[key] = max(readings[key] ?? 0, table.microseconds(ofTree: id.pid))
        }
    }

    /// Microseconds by group.
    var cpu: [ServerGroup: Double] {
        readings.reduce(into: [:]) { $0[$1.key.group, default: 0] += $1.value }
    }
}
