import ParleyCore
import ParleyWire

extension MessageID {
    /// The entry of the lane's commit log that this id is derived from.
    var streamID: String { "\(unixMilliseconds)-\(sequence)" }

    /// - Parameter streamID: `<milliseconds since 1970>-<sequence>`, as Redis writes it.
    init?(streamID: String, lane: Lane) {
        let parts = streamID.split(separator: "-")
        guard parts.count == 2, let milliseconds = Int64(parts[0]), let sequence = Int(parts[1]) else { return nil }
        self.init(unixMilliseconds: milliseconds, lane: lane.number, sequence: sequence)
    }
}
