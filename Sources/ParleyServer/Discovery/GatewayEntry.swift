/// A gateway as others and clients see it: the hash `gateway:<name>`.
struct GatewayEntry: Sendable, Hashable {
    let name: String
    /// The base that clients reach it at.
    var url: String
    var zone: String
    /// Sockets, and polls that wait.
    var sessions: Int
    /// Sessions that it may hold.
    var capacity: Int
    /// The longest delay of an event loop within the last second or two, in microseconds.
    var lag = 0
    /// Processor time of the last second; 100 is a core.
    var processorPercent = 0
    var isDraining = false
    /// When it started, in milliseconds since 1970 by Redis's clock; nil for what Redis has not said.
    var started: Int64?
    var version = ""
    /// For people to see.
    var messages = MessageRates()

    /// Share of the capacity that is taken.
    var load: Double { capacity > 0 ? Double(sessions) / Double(capacity) : 1 }
    /// Sessions that it takes yet.
    var spare: Int { isDraining ? 0 : max(0, capacity - sessions) }

    /// What the gateway itself writes; Redis adds `instance` and `started`.
    var fields: [String] {
        [
            "url", url, "zone", zone, "sessions", "\(sessions)", "capacity", "\(capacity)", "lag_us", "\(lag)",
            "cpu_pct", "\(processorPercent)", "draining", isDraining ? "1" : "0", "version", version,
        ] + messages.fields
    }
}

extension GatewayEntry {
    /// - Parameter fields: names and values in turn.
    /// - Returns: nil for a name that is only claimed as yet.
    init?(name: String, fields: [String]) {
        var values: [String: String] = [:]
        for index in stride(from: 0, to: fields.count - 1, by: 2) { values[fields[index]] = fields[index + 1] }
        guard let url = values["url"] else { return nil }
        func number(_ field: String) -> Int { values[field].flatMap { Int($0) } ?? 0 }
        self.init(
            name: name,
            url: url,
            zone: values["zone"] ?? "",
            sessions: number("sessions"),
            capacity: number("capacity"),
            isDraining: values["draining"] == "1",
            started: values["started"].flatMap { Int64($0) }
        )
    }
}
