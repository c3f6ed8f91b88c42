/// What a run comes to.
struct RunReport: Sendable {
    let plan: LoadPlan
    let processes: Int
    let connectSeconds: Double
    let measurement: Measurement
    let outcome: Outcome
    /// What went wrong on purpose; nil where nothing was to.
    let faults: [FaultRunner.Mark]?
    let rssPerSession: Double?

    var results: PhaseResults { measurement.results }
    /// Of the measurement, or of a step, in seconds.
    var duration: Double { rounded(measurement.seconds) }

    /// Why the run was shorter than planned, or cannot be judged to its end.
    var endedEarly: String? { measurement.endedEarly ?? outcome.trouble }

    /// Whether every promise was kept.
    var holds: Bool {
        let fleet = outcome.fleet
        let mustHoldSessions = plan.chat == nil && plan.presence == nil && faults == nil
        return outcome.violations.isEmpty
            && (!mustHoldSessions || fleet.connected == fleet.devices && fleet.unexpectedCloses == 0)
    }

    /// Why not everything can be told, where nothing was seen to be broken.
    var doubt: String? {
        outcome.trouble ?? (plan.chat != nil && results.acked == 0 ? "no message was acknowledged" : nil)
    }

    var rateAchieved: Double { perSecond(Double(results.acked)) }
    var deliveriesPerSecond: Double { perSecond(Double(results.delivered)) }
    var connectsPerSecond: Double { rounded(Double(plan.sessions) / max(connectSeconds, 0.001)) }
    var serverCost: ServerCost? { measurement.server?.perMessage(results.sent) }

    /// Processor time of all server processes for a session that is merely there, in microseconds a second.
    var idleCPU: Double? {
        guard plan.chat == nil, let server = measurement.server, plan.sessions > 0 else { return nil }
        return perSecond(server.cpu.values.reduce(0, +) / Double(plan.sessions))
    }

    /// From the first fault until all sessions were there again and stayed, in seconds, to a second of the timeline; nil
    /// where not all came back.
    var reconnectSeconds: Double? {
        guard let fault = faults?.first?.s else { return nil }
        let points = measurement.timeline
        let missing = points.lastIndex { $0.s >= fault && $0.connected < outcome.fleet.devices }
        guard let missing else { return 0 }
        guard points.indices.contains(missing + 1) else { return nil }
        return rounded(points[missing + 1].s - fault)
    }

    func perSecond(_ total: Double) -> Double {
        duration == 0 ? 0 : rounded(total / duration)
    }

    func perMessage(_ total: Double) -> Double? {
        results.sent == 0 ? nil : rounded(total / Double(results.sent))
    }
}

extension RunReport: Encodable {
    /// Field names are those of the protocol's command line; what does not apply is left out.
    private enum Key: String, CodingKey {
        case scenario, users, rate, duration_s, processes, gateways
        case sent, acked, deliveries_expected, delivered, lost, duplicated, reordered, leaked, violations
        case errors, errors_undisturbed, reconnect_seconds, unexpected_closes, resyncs, ended_early
        case conversations, conversations_read
        case latency_ms, ack_ms, latency_curve, rate_achieved, deliveries_per_second, members, devices
        case server_cpu_us_per_message, generator_cpu_us_per_message, rss_kb_per_session, bytes_per_message
        case redis_calls_per_message, timeline, faults, steps, highest_rate
        case sessions, connected, connect_seconds, connects_per_second, failures, heartbeats_answered
        case last_close_reason, http_requests, http_requests_per_second, http_requests_per_message
        case friends, changes, changes_per_second, changes_shown, pictures, wrong, gone_shown, gone_ms
        case server_cpu_us_per_session_second
    }

    func encode(to encoder: any Encoder) throws {
        var json = encoder.container(keyedBy: Key.self)
        try json.encode(plan.scenario, forKey: .scenario)
        try json.encode(plan.users, forKey: .users)
        try json.encode(duration, forKey: .duration_s)
        try json.encode(processes, forKey: .processes)
        try json.encode(plan.gateways.count, forKey: .gateways)
        try json.encodeIfPresent(endedEarly, forKey: .ended_early)
        try json.encode(outcome.violations.leaked, forKey: .leaked)
        try json.encode(outcome.violations.items, forKey: .violations)
        try json.encode(measurement.timeline, forKey: .timeline)
        try json.encodeIfPresent(faults, forKey: .faults)
        try json.encodeIfPresent(reconnectSeconds, forKey: .reconnect_seconds)
        try json.encodeIfPresent(rssPerSession, forKey: .rss_kb_per_session)
        try json.encodeIfPresent(idleCPU, forKey: .server_cpu_us_per_session_second)
        if plan.receive != nil {
            try json.encode(results.usage.requests, forKey: .http_requests)
            try json.encode(perSecond(Double(results.usage.requests)), forKey: .http_requests_per_second)
        }
        try encodeFleet(&json)
        // Where both are, messages alone have latencies.
        if let presence = plan.presence { try encodePresence(presence, &json) }
        if let chat = plan.chat { try encodeMessages(chat, &json) }
    }

    private func encodeFleet(_ json: inout KeyedEncodingContainer<Key>) throws {
        let fleet = outcome.fleet
        try json.encode(fleet.devices, forKey: .sessions)
        try json.encode(fleet.connected, forKey: .connected)
        try json.encode(rounded(connectSeconds), forKey: .connect_seconds)
        try json.encode(connectsPerSecond, forKey: .connects_per_second)
        try json.encode(fleet.failures, forKey: .failures)
        try json.encode(outcome.heartbeatsAnswered, forKey: .heartbeats_answered)
        try json.encode(fleet.unexpectedCloses, forKey: .unexpected_closes)
        try json.encode(fleet.resyncs, forKey: .resyncs)
        try json.encodeIfPresent(fleet.lastReason, forKey: .last_close_reason)
    }

    private func encodePresence(_ presence: LoadPlan.Presence, _ json: inout KeyedEncodingContainer<Key>) throws {
        try json.encode(presence.rate, forKey: .rate)
        try json.encode(presence.friends, forKey: .friends)
        try json.encode(results.sent, forKey: .changes)
        try json.encode(perSecond(Double(results.sent)), forKey: .changes_per_second)
        try json.encode(results.delivered, forKey: .changes_shown)
        try json.encode(results.latency.summary, forKey: .latency_ms)
        try json.encode(results.latency.curve, forKey: .latency_curve)
        try json.encode(results.errors, forKey: .errors)
        try json.encode(outcome.pictures, forKey: .pictures)
        try json.encode(outcome.violations.wrong, forKey: .wrong)
        try json.encode(results.gone.count, forKey: .gone_shown)
        try json.encode(results.gone.summary, forKey: .gone_ms)
    }

    private func encodeMessages(_ chat: LoadPlan.Chat, _ json: inout KeyedEncodingContainer<Key>) throws {
        let violations = outcome.violations
        try json.encode(chat.rate, forKey: .rate)
        try json.encode(results.sent, forKey: .sent)
        try json.encode(results.acked, forKey: .acked)
        try json.encode(results.deliveriesExpected, forKey: .deliveries_expected)
        try json.encode(results.delivered, forKey: .delivered)
        try json.encode(violations.lost, forKey: .lost)
        try json.encode(violations.duplicated, forKey: .duplicated)
        try json.encode(violations.reordered, forKey: .reordered)
        try json.encode(results.errors, forKey: .errors)
        if faults != nil { try json.encode(results.undisturbedErrors, forKey: .errors_undisturbed) }
        try json.encode(outcome.conversations, forKey: .conversations)
        try json.encode(outcome.conversationsRead, forKey: .conversations_read)
        try json.encode(results.latency.summary, forKey: .latency_ms)
        try json.encode(results.ack.summary, forKey: .ack_ms)
        try json.encode(results.latency.curve, forKey: .latency_curve)
        try json.encode(rateAchieved, forKey: .rate_achieved)
        try json.encode(deliveriesPerSecond, forKey: .deliveries_per_second)
        try json.encode(chat.members, forKey: .members)
        try json.encode(chat.devices, forKey: .devices)
        let cost = serverCost
        try json.encodeIfPresent(cost?.cpu, forKey: .server_cpu_us_per_message)
        try json.encodeIfPresent(cost?.redisCalls, forKey: .redis_calls_per_message)
        try json.encodeIfPresent(perMessage(results.usage.microseconds), forKey: .generator_cpu_us_per_message)
        if plan.receive != nil {
            let requests = perMessage(Double(results.usage.requests))
            try json.encodeIfPresent(requests, forKey: .http_requests_per_message)
        }
        let bytes = [
            "to_clients": perMessage(Double(results.usage.bytesToClients)),
            "from_clients": perMessage(Double(results.usage.bytesFromClients)),
            "to_redis": cost?.bytesToRedis,
            "from_redis": cost?.bytesFromRedis,
        ]
        try json.encode(bytes.compactMapValues(\.self), forKey: .bytes_per_message)
        if let steps = measurement.steps {
            try json.encode(steps.results, forKey: .steps)
            try json.encodeIfPresent(steps.highest, forKey: .highest_rate)
        }
    }
}
