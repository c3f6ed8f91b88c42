import NIOCore
import ParleyClient
import ParleyWire

/// Has a group write to members who are away, then has these come back one by one.
struct ResumeRun: Sendable {
    let roster: Roster
    let eventLoop: any EventLoop
    let users: Int
    let missed: Int
    let bodyBytes: Int

    func run() async throws -> ResumeResult {
        let accounts = try await roster.accounts(users + 1)
        let group = LoadPlan.Chat(users: users + 1, rate: 1, members: users + 1, isGroup: true)
        let conversations = try await roster.conversations(group, accounts)
        let seats = roster.seats(accounts, members: users + 1)
        var result = ResumeResult(missed: missed)
        guard let conversation = conversations.first, let writer = seats.first else { return result }

        var cursors: [ClientFrame.Cursor] = []
        for seat in seats.dropFirst() { cursors.append(try await visit(seat, after: nil).head) }
        say("\(users) devices are away, and \(missed) messages are written")
        let content = MessageContent(body: String(repeating: "x", count: bodyBytes))
        let messages = missed
        try await eventLoop.flatSubmit { [eventLoop] in
            Writer(writer, on: eventLoop).write(messages, of: content, in: conversation)
        }.get()

        for (seat, cursor) in zip(seats.dropFirst(), cursors) {
            result.add(try await visit(seat, after: cursor), after: cursor.q)
        }
        return result
    }

    private func visit(_ seat: Seat, after cursor: ClientFrame.Cursor?) async throws -> Visit.Outcome {
        try await eventLoop.flatSubmit { [eventLoop] in Visit(seat, after: cursor, on: eventLoop).begin() }.get()
    }
}

/// What coming back took.
struct ResumeResult: Encodable {
    let scenario = "resume"
    let missed: Int
    private(set) var users = 0
    /// Devices that did not get exactly what they missed, in order.
    private(set) var incomplete = 0
    private var first = Latencies()
    private var all = Latencies()

    init(missed: Int) {
        self.missed = missed
    }

    private enum CodingKeys: String, CodingKey {
        case scenario, missed, users, incomplete
        case first = "first_ms"
        case all = "all_ms"
    }

    mutating func add(_ visit: Visit.Outcome, after q: Int64) {
        users += 1
        guard visit.mode == .replay, visit.positions == Array(q + 1...q + Int64(missed)), let begin = visit.first else {
            incomplete += 1
            return
        }
        first.record(begin)
        all.record(visit.end)
    }

    func encode(to encoder: any Encoder) throws {
        var object = encoder.container(keyedBy: CodingKeys.self)
        try object.encode(scenario, forKey: .scenario)
        try object.encode(missed, forKey: .missed)
        try object.encode(users, forKey: .users)
        try object.encode(incomplete, forKey: .incomplete)
        try object.encode(first.summary, forKey: .first)
        try object.encode(all.summary, forKey: .all)
    }

    func printTable() {
        func line(_ latencies: Latencies) -> String {
            let (p50, p99, most) = (latencies.summary.p50, latencies.summary.p99, latencies.summary.max)
            return "p50 \(milliseconds(p50))   p99 \(milliseconds(p99))   max \(milliseconds(most))"
        }
        say("")
        parley_load.printTable([
            ("came back", "\(users), each having missed \(missed) messages"),
            ("first event after, ms", line(first)),
            ("all events after, ms", line(all)),
            ("not exactly what was missed", "\(incomplete)"),
        ])
    }
}
