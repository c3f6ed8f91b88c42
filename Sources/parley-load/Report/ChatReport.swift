/// What a run of chat comes to.
struct ChatReport {
    let seconds: Double
    var results = ChatResults()
    var fleet = Fleet.Counts()
    var violations = Violations()
    var conversationsRead = 0
    var cpu: ServerUsage.Groups?
    var rssPerSession: Double?
    var generatorMicroseconds = 0.0

    init(seconds: Double) {
        self.seconds = seconds
    }

    /// Whether every promise was kept.
    var holds: Bool { violations == Violations() }

    private var errors: Int { results.errors.values.reduce(0, +) }

    /// Both devices of a pair for each that was acknowledged.
    private var deliveriesExpected: Int { 2 * results.acked }

    private struct JSON: Encodable {
        var scenario = "chat"
        let sent: Int
        let acked: Int
        let deliveries_expected: Int
        let delivered: Int
        let lost: Int
        let duplicated: Int
        let reordered: Int
        let leaked: Int
        let errors: [String: Int]
        let unexpected_closes: Int
        let conversations_read: Int
        let latency_ms: Percentiles
        let ack_ms: Percentiles
        let rate_achieved: Double
        let server_cpu_us_per_message: ServerUsage.Groups?
        let generator_cpu_us_per_message: Double
        let rss_kb_per_session: Double?
    }

    func write(to path: String) throws {
        try writeJSON(
            JSON(
                sent: results.sent,
                acked: results.acked,
                deliveries_expected: deliveriesExpected,
                delivered: results.delivered,
                lost: violations.lost,
                duplicated: violations.duplicated,
                reordered: violations.reordered,
                leaked: violations.leaked,
                errors: results.errors,
                unexpected_closes: fleet.unexpectedCloses,
                conversations_read: conversationsRead,
                latency_ms: results.latency.summary,
                ack_ms: results.ack.summary,
                rate_achieved: rounded(Double(results.acked) / seconds),
                server_cpu_us_per_message: cpu,
                generator_cpu_us_per_message: rounded(generatorMicroseconds),
                rss_kb_per_session: rssPerSession
            ),
            to: path
        )
    }

    func printTable() {
        func line(_ latencies: Percentiles) -> String {
            [
                "p50 \(milliseconds(latencies.p50))", "p90 \(milliseconds(latencies.p90))",
                "p99 \(milliseconds(latencies.p99))", "p99.9 \(milliseconds(latencies.p999))",
                "max \(milliseconds(latencies.max))",
            ].joined(separator: "   ")
        }
        var rows = [
            ("sent", "\(results.sent)"),
            ("acknowledged", "\(results.acked), \(number(Double(results.acked) / seconds)) a second"),
            ("delivered", "\(results.delivered) of \(deliveriesExpected)"),
            ("send to delivery, ms", line(results.latency.summary)),
            ("send to answer, ms", line(results.ack.summary)),
            ("lost", "\(violations.lost)"),
            ("duplicated", "\(violations.duplicated)"),
            ("reordered", "\(violations.reordered)"),
            ("leaked", "\(violations.leaked)"),
            ("histories read back", "\(conversationsRead)"),
            ("errors", errors == 0 ? "0" : "\(results.errors)"),
            ("unexpected closes", "\(fleet.unexpectedCloses)"),
        ]
        if let cpu {
            rows.append(
                (
                    "server CPU a message, µs",
                    "gateways \(number(cpu.gateways))   workers \(number(cpu.workers))   redis \(number(cpu.redis))"
                        + "   postgres \(number(cpu.postgres))   total \(number(cpu.total))"
                )
            )
        }
        rows.append(("generator CPU a message, µs", number(generatorMicroseconds)))
        if let rssPerSession { rows.append(("RSS a session, KiB", number(rssPerSession))) }
        say("")
        parley_load.printTable(rows)
        say(holds ? "\nEvery promise held." : "\nA promise was BROKEN: see lost, duplicated, reordered, leaked.")
    }
}
