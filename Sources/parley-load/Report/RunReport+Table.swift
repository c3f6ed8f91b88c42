extension RunReport {
    func printTable() {
        var rows = fleetRows()
        if plan.chat != nil { rows = messageRows() + rows + costRows() }
        if plan.presence != nil { rows = presenceRows() + rows }
        if let idleCPU { rows.append(("server CPU a session and second, µs", number(idleCPU))) }
        if plan.receive?.isPolling == true {
            let share = perMessage(Double(results.usage.requests)).map { ", \(number($0)) a message" } ?? ""
            rows.append(("HTTP requests", "\(results.usage.requests)\(share)"))
        }
        if let rssPerSession { rows.append(("RSS a session, KiB", number(rssPerSession))) }
        say("")
        parley_load.printTable(rows)
        printSteps()
        for kind in Violations.Kind.allCases {
            let items = outcome.violations.items.filter { $0.kind == kind }
            for item in items.prefix(20) { say("  \(kind.rawValue): \(item.message)") }
            if items.count > 20 { say("  … (--json lists \(items.count))") }
        }
        for fault in faults ?? [] { say("  \(pad(number(fault.s), 6)) s   \(fault.what)") }
        if let endedEarly { say("\nThe run ended early: \(endedEarly). These are the figures so far.") }
        say("\n" + verdict)
    }

    private var verdict: String {
        if !holds { return "A promise was BROKEN: see above." }
        guard let doubt else {
            let isSample = outcome.conversationsRead < outcome.conversations
            return "Every promise held." + (isSample ? " Of the histories a random sample was read back." : "")
        }
        return "Nothing that was checked was broken, but not everything could be: \(doubt)."
    }

    private func presenceRows() -> [(String, String)] {
        let changes = [
            ("changes", "\(results.sent), \(number(perSecond(Double(results.sent)))) a second"),
            ("shown to friends", "\(results.delivered)"),
            ("change to socket, ms", line(results.latency.summary)),
        ]
        return (plan.chat == nil ? changes : []) + [
            ("lost connections that friends saw", "\(results.gone.count)"),
            ("loss to friend's socket, ms", line(results.gone.summary)),
            ("wrong pictures at the end", "\(outcome.violations.wrong) of \(outcome.pictures)"),
        ]
    }

    private func messageRows() -> [(String, String)] {
        let violations = outcome.violations
        let errors = results.errors.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
        return [
            ("sent", "\(results.sent)"),
            ("acknowledged", "\(results.acked), \(number(rateAchieved)) a second"),
            (
                "delivered",
                "\(results.delivered) of \(results.deliveriesExpected), \(number(deliveriesPerSecond)) a second"
            ),
            ("send to delivery, ms", line(results.latency.summary)),
            ("send to answer, ms", line(results.ack.summary)),
            ("lost", "\(violations.lost)"),
            ("duplicated", "\(violations.duplicated)"),
            ("reordered", "\(violations.reordered)"),
            ("leaked", "\(violations.leaked)"),
            ("histories read back", "\(outcome.conversationsRead) of \(outcome.conversations)"),
            ("errors", errors.isEmpty ? "0" : errors.joined(separator: "   ")),
        ]
    }

    private func fleetRows() -> [(String, String)] {
        let fleet = outcome.fleet
        var rows = [
            ("sessions", "\(fleet.connected) of \(fleet.devices)"),
            ("connected in", "\(number(connectSeconds)) s, \(number(connectsPerSecond)) a second"),
            ("failed attempts", "\(fleet.failures)"),
            ("heartbeats answered", "\(outcome.heartbeatsAnswered)"),
            ("unexpected closes", "\(fleet.unexpectedCloses)"),
            ("resyncs", "\(fleet.resyncs)"),
        ]
        if let reason = fleet.lastReason { rows.append(("last failure or close", reason)) }
        return rows
    }

    private func costRows() -> [(String, String)] {
        var rows: [(String, String)] = []
        let cost = serverCost
        if let cpu = cost?.cpu {
            rows.append(
                (
                    "server CPU a message, µs",
                    "gateways \(number(cpu.gateways))   workers \(number(cpu.workers))   redis \(number(cpu.redis))"
                        + "   postgres \(number(cpu.postgres))   total \(number(cpu.total))"
                )
            )
        }
        if let own = perMessage(results.usage.microseconds) {
            rows.append(("generator CPU a message, µs", number(own)))
        }
        if let calls = cost?.redisCalls {
            let sorted = calls.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.filter { $0.value >= 0.05 }
            let text = sorted.map { "\($0.key) \(number($0.value))" }.joined(separator: "   ")
            rows.append(("Redis calls a message", text))
        }
        let bytes = [
            ("to clients", perMessage(Double(results.usage.bytesToClients))),
            ("from clients", perMessage(Double(results.usage.bytesFromClients))),
            ("to Redis", cost?.bytesToRedis), ("from Redis", cost?.bytesFromRedis),
        ]
        let text = bytes.compactMap { name, value in value.map { "\(name) \(number($0))" } }.joined(separator: "   ")
        if !text.isEmpty { rows.append(("bytes a message", text)) }
        return rows
    }

    private func printSteps() {
        guard let steps = measurement.steps else { return }
        say("\n  messages/s    achieved     p50 ms     p99 ms")
        for step in steps.results {
            let cells = [
                pad(number(step.rate), 12), pad(number(step.rate_achieved), 11), pad(milliseconds(step.p50), 10),
                pad(milliseconds(step.p99), 10),
            ]
            say(cells.joined(separator: " ") + (step.holds ? "" : "   too slow"))
        }
        let limit = number(steps.limit)
        say(
            steps.highest.map { "\n  highest rate with p99 ≤ \(limit) ms: \(number($0)) messages a second" }
                ?? "\n  no rate had a p99 of \(limit) ms or less: the figures above are of the last that was tried"
        )
    }

    private func line(_ latencies: Percentiles) -> String {
        [
            "p50 \(milliseconds(latencies.p50))", "p90 \(milliseconds(latencies.p90))",
            "p99 \(milliseconds(latencies.p99))", "p99.9 \(milliseconds(latencies.p999))",
            "max \(milliseconds(latencies.max))",
        ].joined(separator: "   ")
    }
}
