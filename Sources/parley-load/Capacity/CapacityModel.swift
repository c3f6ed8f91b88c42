/// How much of everything a number of users takes: the costs that one machine was measured to have, scaled linearly.
struct CapacityModel {
    struct Line {
        let what: String
        let working: Working
        let result: Working
    }

    private(set) var sections: [(title: String, lines: [Line])] = []

    /// What the lines do not say.
    static let leftOut = [
        "Costs are those of one machine at one rate, scaled linearly: a message takes less where more come together, "
            + "and more over a network than over loopback.",
        "Several Redis shards, groups, presence and search are reckoned from single calls, not measured: a delivery in a "
            + "group or a presence notice is taken to cost a gateway what a delivery between two does.",
        "Not in it: signing in, TLS, the processor time of heartbeats, reading history, push, answering suggestions, "
            + "Redis replicas, PostgreSQL's reads and upkeep, the network, a zone to spare.",
    ]

    init(_ assumed: CapacityAssumptions, _ costs: MeasuredCosts) {
        let users = Working(assumed.dau, "users")
        let (day, peak) = (Working(86_400, "s"), Working(assumed.peak, "peak"))
        let friends = Working(assumed.friends, "friends")
        let utilisation = Working.share(assumed.utilisation)
        // What a process of one core does in a second.
        let core = Working.microsecondsOfASecond * utilisation

        begin("What users do")
        let sent = users * Working(assumed.messages, "messages")
        let meanMessages = add("messages, mean", sent / day, "/s")
        let messages = add("messages, peak", meanMessages * peak, "/s")
        let direct = Working.share(1 - assumed.groupShare) * Working(2)
        let group = Working.share(assumed.groupShare) * Working(assumed.groupSize)
        let copies = add("queues that a message goes to, its sender's too", direct + group, "")
        let deliveries = add("deliveries, peak", messages * copies, "/s")
        let sessions = add("sessions, peak", users * .share(assumed.onlineShare), "")
        let changes = users * Working(assumed.presenceChanges, "changes") / day * peak
        let publications = add("presence published to each friend, peak", changes * friends, "/s")
        let watching = Working.share(assumed.onlineShare) * .share(assumed.watchedShare)
        let notices = add("presence to friends online who watch, peak", publications * watching, "/s")

        // Of the gateways' time for a message between two, its send and its two deliveries take a third each.
        begin("Gateways")
        let bySessions = add(
            count: "by sessions",
            sessions / (Working(assumed.sessionsPerGateway, "sessions") * utilisation)
        )
        let third = Working(costs.message.gateways, "µs") / Working(3)
        let byCPU = add(count: "by processor time, a core each", (messages + deliveries + notices) * third / core)
        add(count: "gateways", .larger(bySessions, byCPU))
        add("memory of their sessions", sessions * Working(costs.sessionKiB * 1024, "B") / .bytesOfAGB, "GB")

        // Of many shards, a queue is hardly ever on the one that commits: each takes a call of its own. The measured time
        // has two deliveries in it already, so this is too much rather than too little.
        begin("Redis")
        let delivery = Working(MeasuredCosts.deliveryMicroseconds, "µs")
        let time = add(
            "time of a message and its deliveries",
            Working(costs.message.redis, "µs") + copies * delivery,
            "µs"
        )
        let calls = add(
            "position checks, and presence",
            sessions / Working(assumed.heartbeat, "s") + publications,
            "/s"
        )
        let busy = messages * time / .microsecondsOfASecond + calls / Working(assumed.redisCalls, "/s")
        let shardsByCPU = add(count: "shards by processor time, a core each", busy / utilisation)
        let waiting = sent * copies * Working(assumed.queueHours, "h") / Working(24, "h")
        let memory = [
            add("queues", waiting * Working(MeasuredCosts.queueEntryBytes, "B") / .bytesOfAGB, "GB"),
            add("users and conversations", users * Working(MeasuredCosts.userBytes, "B") / .bytesOfAGB, "GB"),
            add(
                "presence pairs",
                sessions * friends * .share(assumed.watchedShare) * Working(MeasuredCosts.pairBytes, "B") / .bytesOfAGB,
                "GB"
            ),
            add(
                "remembered sends",
                messages * Working(MeasuredCosts.sendSeconds, "s") * Working(MeasuredCosts.sendBytes, "B")
                    / .bytesOfAGB,
                "GB"
            ),
        ]
        let total = memory.dropFirst().reduce(memory[0], +)
        let shardsByMemory = add(count: "shards by memory", total / (Working(assumed.shardGb, "GB") * utilisation))
        add(count: "shards, without replicas", .larger(shardsByCPU, shardsByMemory))

        begin("The archive")
        add(count: "workers, a core each", messages * Working(costs.message.workers, "µs") / core)
        let rows = add("rows written by PostgreSQL, peak", messages * Working(1, "row"), "/s")
        add(count: "cores of PostgreSQL", rows * Working(costs.message.postgres, "µs") / core)
        let stored = sent * Working(assumed.messageBytes, "B") * Working(assumed.replication, "copies")
        let storage = add("storage a day", stored / .bytesOfATB, "TB")
        add("storage a year", storage * Working(365, "days"), "TB")

        begin("Search")
        let searches = users * .share(assumed.searchShare) * Working(assumed.searches, "searches")
        let suggestions = searches * Working(assumed.keystrokes, "keystrokes") / day
        let meanSuggestions = add("suggestions asked for, mean", suggestions, "/s")
        add("suggestions asked for, peak", meanSuggestions * peak, "/s")
    }

    private mutating func begin(_ title: String) { sections.append((title, [])) }

    /// - Returns: the result, for the arithmetic of later lines.
    @discardableResult
    private mutating func add(_ what: String, _ working: Working, _ unit: String) -> Working {
        let line = Line(what: what, working: working, result: Working(working.value, unit))
        sections[sections.count - 1].lines.append(line)
        return line.result
    }

    /// Processes and cores come whole.
    @discardableResult
    private mutating func add(count what: String, _ working: Working) -> Working {
        let line = Line(what: what, working: working, result: Working(working.value.rounded(.up)))
        sections[sections.count - 1].lines.append(line)
        return line.result
    }
}
