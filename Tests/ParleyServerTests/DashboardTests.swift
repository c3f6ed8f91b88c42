import NIOCore
import ParleyCore
import ParleyWire
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// What people see of Redis, in a Redis whose filling is known. Ages are so long that a slow machine prints them alike.
@Suite struct DashboardTests {
    private static let hour: Int64 = 3_600_000

    private func lines(_ stack: MessagesStack, _ function: String, _ arguments: String...) async throws -> [String] {
        let answer = try await stack.client.send(RedisCommand(["FCALL_RO", function, "0"] + arguments))
        return try #require(answer.array, "\(answer)").compactMap(\.string)
    }

    private func line(_ beginning: String, of lines: [String]) -> String? {
        lines.first { $0.hasPrefix(beginning) || $0.hasPrefix("  \(beginning) ") }
    }

    /// A lane's entry of so long ago.
    private func add(_ stack: MessagesStack, toLane lane: Int, hoursAgo: Double, sequence: Int = 0) async throws {
        let id = "\(try await stack.now - Int64(hoursAgo * Double(Self.hour)))-\(sequence)"
        _ = try await stack.run("XADD", Keys.lane(Lane(number: lane)), id, "e", "{}")
    }

    private func gateway(_ stack: MessagesStack, _ name: String, _ fields: String...) async throws {
        _ = try await stack.run("SADD", "gateways", name)
        _ = try await stack.client.send(RedisCommand(["HSET", "gateway:\(name)"] + fields))
    }

    private func worker(_ stack: MessagesStack, _ entry: WorkerEntry) async throws {
        _ = try await stack.call("worker_here", [Keys.workers], ["worker-1", entry.text])
    }

    @Test func `a worker for suggestions tells of its lists`() async throws {
        try await MessagesStack.with { stack in
            var entry = WorkerEntry(roles: "typeahead")
            try await worker(stack, entry)
            #expect(line("typeahead", of: try await lines(stack, "parley_top")) == nil)
            entry.suggestions = SuggestionStanding(searches: 1)
            try await worker(stack, entry)
            #expect(line("typeahead", of: try await lines(stack, "parley_top")) == "typeahead no list; 1 search kept")
            entry.suggestions = SuggestionStanding(
                lists: 2,
                keys: 242_342,
                age: 90 * 60_000,
                searches: 60_000,
                isFailing: true
            )
            try await worker(stack, entry)
            let top = try await lines(stack, "parley_top")
            let expected = "typeahead 2 lists of 242,342 keys, the newest in force for 1.5 h; 60,000 searches kept"
            #expect(line("typeahead", of: top) == expected)
            #expect(top.contains("  ! searches are not counted: the oldest will be lost"))
            #expect(top.contains("  ! the last build of lists was no good: parley typeahead status"))
        }
    }

    @Test func `push is told of where somebody has registered a device`() async throws {
        try await MessagesStack.with { stack in
            #expect(try await line("push", of: lines(stack, "parley_top")) == nil)
            _ = try await stack.client.send(PushCalls.enrol(["ann", "bob"], true))
            let told = try await line("push", of: lines(stack, "parley_top"))
            #expect(told?.hasSuffix("2 users with a device, 0 waiting, 0 to be tried again") == true)
            let id = "\(try await stack.now - 3 * Self.hour)-0"
            _ = try await stack.run("XADD", Keys.push, id, "u", "ann")
            _ = try await stack.run("XADD", Keys.pushDead, "*", "u", "ann")
            let behind = try await lines(stack, "parley_top")
            #expect(line("push", of: behind)?.contains("1 waiting, the oldest for 3.0 h") == true)
            #expect(behind.contains { $0.contains("! push is behind") })
            #expect(behind.contains { $0.contains("! 1 push was given up") })
        }
    }

    @Test func `the text says what runs and what waits`() async throws {
        try await MessagesStack.with { stack in
            try await gateway(
                stack,
                "gateway-2",
                "url",
                "http://b:8080",
                "zone",
                "east",
                "sessions",
                "12345",
                "capacity",
                "18000",
                "lag_us",
                "1500",
                "cpu_pct",
                "42",
                "draining",
                "1",
                "started",
                "\(try await stack.now - 5 * Self.hour / 2 - 1000)",
                "sends_s",
                "1020",
                "delivered_s",
                "2034"
            )
            try await gateway(
                stack,
                "gateway-1",
                "url",
                "http://a:8080",
                "zone",
                "",
                "sessions",
                "6",
                "capacity",
                "18000"
            )
            try await worker(stack, WorkerEntry(lanes: Array(0..<255), archivedAgo: 7_210_000))
            for sequence in 0..<3 { try await add(stack, toLane: 17, hoursAgo: 3.02, sequence: sequence) }
            for lane in 0..<6 { try await add(stack, toLane: lane, hoursAgo: Double(12 - lane) + 0.02) }

            let top = try await lines(stack, "parley_top")
            #expect(top.first == "epoch     e1, nothing was ever lost")
            #expect(top[1].hasPrefix("redis     "))
            #expect(
                Array(top[2...5]) == [
                    "gateways  2, 12,351 sessions of 36,000",
                    "  name       zone  sessions  capacity    load  loop lag   CPU  sends/s  deliveries/s  state     "
                        + "   up  url",
                    "  gateway-1  -            6    18,000   0.0 %         -     -        -             -  serving   "
                        + "    -  http://a:8080",
                    "  gateway-2  east    12,345    18,000  68.6 %    1.5 ms  42 %    1,020         2,034  draining  "
                        + "2.5 h  http://b:8080",
                ]
            )
            #expect(top[6] == "workers   1")
            #expect(try #require(line("worker-1", of: top)).hasSuffix("2.0 h  working"))
            let lanes = try #require(top.firstIndex { $0.hasPrefix("lanes") })
            #expect(
                Array(top[lanes...(lanes + 7)]) == [
                    "lanes     9 not archived, the oldest for 12.0 h; 9 kept in Redis",
                    "  ! 1 lane has no worker",
                    "  lane  not archived  oldest  kept  fan-outs owed  worker",
                    "  L0               1  12.0 h     1              0  worker-1",
                    "  L1               1  11.0 h     1              0  worker-1",
                    "  L2               1  10.0 h     1              0  worker-1",
                    "  L3               1   9.0 h     1              0  worker-1",
                    "  L4               1   8.0 h     1              0  worker-1",
                ]
            )
            #expect(line("fan-outs", of: top) == "fan-outs  none is owed")
            #expect(line("outboxes", of: top) == "outboxes  not known: no worker that reaches PostgreSQL")

            let all = try await lines(stack, "parley_lanes")
            #expect(all.last == "  L17              3   3.0 h     3              0  worker-1")
            #expect(all.count == 3 + 7)
            #expect(try await Array(top[2...5]) == lines(stack, "parley_gateways"))
        }
    }

    @Test func `what is archived leaves the backlog, what a fan-out holds is counted apart`() async throws {
        try await MessagesStack.with { stack in
            let talk = Talk()
            let (lane, held) = (talk.lane, try #require(Lane.all.first { $0 != talk.lane }))
            try await stack.seed(talk.conversation)
            for _ in 0..<4 { try await stack.commit(talk) }
            for sequence in 0..<4 { try await add(stack, toLane: held.number, hoursAgo: 5.02, sequence: sequence) }
            let log = try await stack.log(held)
            let place = try #require(log[0].split(separator: "-").first)
            _ = try await stack.run("ZADD", Keys.pending(held), String(place), "d:a:b b \(place)-0000")
            for (lane, id) in [(lane, try #require(try await stack.log(lane).last)), (held, log[1])] {
                let keys = [Keys.lane(lane), Keys.pending(lane), Keys.archived(lane)]
                _ = try await stack.call("trim", keys, [id])
            }
            let top = try await lines(stack, "parley_top")
            #expect(line("lanes", of: top) == "lanes     at most 4 not archived, the oldest for 5.0 h; 4 kept in Redis")
            #expect(line("fan-outs", of: top) == "fan-outs  1 owed, the oldest for 5.0 h")
            #expect(line("! 256", of: top) == "  ! 256 lanes have no worker")
            #expect(line("workers", of: top) == "workers   ! none: nothing is archived, and no fan-out finished")
            let rows = try await lines(stack, "parley_lanes").dropFirst(3)
            #expect(rows.map { $0.split(separator: " ").joined(separator: " ") } == ["\(held) at most 4 5.0 h 4 1 -"])
        }
    }

    @Test func `rates are those that a gateway writes of itself`() async throws {
        try await MessagesStack.with { stack in
            var rates = MessageRates(at: .uptimeNanoseconds(0))
            _ = rates.counted(sent: 2000, delivered: 4000, at: .uptimeNanoseconds(1_000_000_000))
            rates = rates.counted(sent: 2010, delivered: 4030, at: .uptimeNanoseconds(3_000_000_000))
            let entry = ["gateway:gateway-1", "url", "u", "sessions", "1", "capacity", "2"] + rates.fields
            _ = try await stack.client.send(RedisCommand(["HSET"] + entry))
            _ = try await stack.run("SADD", "gateways", "gateway-1")
            try await gateway(stack, "gateway-2", "url", "u", "sessions", "1", "capacity", "2")
            let rows = try await lines(stack, "parley_gateways")
            #expect(rows[2].split(separator: " ").dropFirst(8).prefix(2) == ["5", "15"], "\(rows[2])")
            #expect(rows[3].split(separator: " ").dropFirst(8).prefix(2) == ["-", "-"], "\(rows[3])")
            #expect(try await stack.run("HGET", "gateway:gateway-1", "delivered").integer == 4030)
        }
    }

    @Test func `where messages are on another Redis nothing is said of them`() async throws {
        try await MessagesStack.with { stack in
            try await gateway(stack, "gateway-1", "url", "u", "sessions", "1", "capacity", "2")
            _ = try await stack.run("DEL", Keys.epoch)
            let top = try await lines(stack, "parley_top")
            #expect(top[0].hasPrefix("redis     of presence, limits and the registry"))
            #expect(top[1] == "gateways  1, 1 session of 2" && top.count == 4, "\(top)")
        }
    }

    @Test func `a worker says what it left, why it stands still, and where the gateways are`() async throws {
        try await MessagesStack.with { stack in
            var entry = WorkerEntry(lanes: [0, 1, 2, 5], problem: "connection refused, port = 5432")
            entry.registry = "redis://127.0.0.1:6380/0"
            try await worker(stack, entry)
            let top = try await lines(stack, "parley_top")
            #expect(line("! worker-1:", of: top) == "  ! worker-1: connection refused, port = 5432")
            #expect(line("! 252", of: top) == "  ! 252 lanes have no worker")
            #expect(
                line("gateways", of: top)
                    == "gateways  in the registry on redis://127.0.0.1:6380/0: ask parley_gateways there"
            )
            try await worker(
                stack,
                WorkerEntry(leftovers: Leftovers(groups: 1, rights: 2, relations: 3, deadLetters: 1))
            )
            let later = try await lines(stack, "parley_top")
            #expect(
                line("outboxes", of: later)
                    == "outboxes  1 of groups, 2 of who may write, 3 of friends' events, older than 3 s"
            )
            #expect(line("! 1 entry", of: later) == "  ! 1 entry could not be archived: see dead_letters")

            let gone = "\(try await stack.now - 1_801_000) lanes=0-255"
            _ = try await stack.run("HSET", Keys.workers, "worker-1", gone, "worker-0", "1 lanes=-")
            let cells = line("worker-1", of: try await lines(stack, "parley_top"))?.split(separator: " ") ?? []
            #expect(cells == ["worker-1", "-", "0", "30.0", "min", "-", "gone"])
            _ = try await stack.call("worker_here", [Keys.workers], ["worker-2", WorkerEntry().text])
            #expect(
                Set(try await stack.run("HKEYS", Keys.workers).array?.compactMap(\.string) ?? []) == [
                    "worker-1", "worker-2",
                ]
            )
            _ = try await stack.call("worker_here", [Keys.workers], ["worker-2", ""])
            #expect(try await stack.run("HKEYS", Keys.workers).array?.compactMap(\.string) == ["worker-1"])
        }
    }

    @Test func `lanes and shards are those of the message path`() async throws {
        try await MessagesStack.with { stack in
            for _ in 0..<1000 {
                let (user, talk, group) = (UserID.random(), Talk(), ConversationID.randomGroup())
                #expect(
                    try await lines(stack, "parley_user", "\(user)").first
                        == "user      \(user) {\(UserShard(of: user))}, epoch e1"
                )
                for conversation in [talk.conversation, group] {
                    let first = try await lines(stack, "parley_conversation", "\(conversation)").first
                    #expect(first == "conv      \(conversation) {\(Lane(of: conversation))}")
                }
            }
        }
    }

    @Test func `who writes most comes first`() async throws {
        try await MessagesStack.with { stack in
            let (busy, idle) = (Talk(), Talk())
            for talk in [busy, idle] { try await stack.seed(talk.conversation) }
            #expect(
                try await lines(stack, "parley_senders")
                    == ["entries   none: nobody writes, or everything is archived"]
            )
            for _ in 0..<2 { try await stack.commit(busy, from: busy.bob) }
            let tricky = #"","conv":"d:a:b","from":"somebody"#
            try await stack.commit(busy, from: busy.ann, body: tricky)
            try await stack.commit(idle, from: idle.ann, body: tricky)
            let lines = try await lines(stack, "parley_senders")
            #expect(lines[0].hasPrefix("entries   4 looked at, the oldest "))
            #expect(lines[2].split(separator: " ") == ["\(busy.bob)", "2", "50.0", "%"])
            #expect(lines[6].split(separator: " ") == ["\(busy.conversation)", "3", "75.0", "%"])
            #expect(lines.count == 8)
        }
    }

    @Test func `lanes that are neighbours are named together`() {
        #expect(WorkerEntry.ranges([]) == "-")
        #expect(WorkerEntry.ranges([5]) == "5")
        #expect(WorkerEntry.ranges([130, 0, 1, 2, 128, 129, 7]) == "0-2,7,128-130")
    }

    @Test func `bad arguments get one clear line`() async throws {
        try await MessagesStack.with { stack in
            for (call, message) in [
                (
                    ["parley_user", "0"],
                    "ERR parley_user takes one id, as in FCALL_RO parley_user 0 qznhhbe5sep8; none was given"
                ),
                (
                    ["parley_user", "1", "bob"],
                    "ERR parley_user takes one id, as in FCALL_RO parley_user 0 qznhhbe5sep8; none was given"
                ),
                (
                    ["parley_user", "0", "Bob!"],
                    "ERR parley_user takes one id, as in FCALL_RO parley_user 0 qznhhbe5sep8; Bob! is none"
                ),
                (
                    ["parley_conversation", "0", "d:b:a"],
                    "ERR parley_conversation takes one id, as in FCALL_RO parley_conversation 0 g:2r9kxw4m7c3t; d:b:a is none"
                ),
                (["parley_top", "0", "1", "2"], "ERR parley_top takes nothing: FCALL_RO parley_top 0"),
            ] {
                let error = await #expect(throws: RedisError.self) {
                    try await stack.client.send(RedisCommand(["FCALL_RO"] + call))
                }
                guard case .server(let answer) = error?.code else {
                    Issue.record("\(call): \(String(describing: error))")
                    continue
                }
                #expect(answer.message == message)
            }
        }
    }

    @Test func `every process has what it needs, and a full Redis keeps nobody out`() async throws {
        try await MessagesStack.with { stack in
            #expect(try await stack.redis.command("FUNCTION", "LIST", "LIBRARYNAME", "parley").contains("parley_top"))
            try await stack.redis.command("FUNCTION", "DELETE", "parley")
            try await stack.redis.command("CONFIG", "SET", "maxmemory", "1")
            stack.client.resetAll()
            #expect(try await eventually { (try? await stack.run("GET", "x")) == .null })
            #expect(try await !stack.redis.command("FUNCTION", "LIST", "LIBRARYNAME", "parley").contains("parley_top"))
        }
    }
}
