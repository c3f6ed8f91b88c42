import ArgumentParser
import Foundation
import Testing

@testable import parley_load

/// The capacity model, against arithmetic done by hand.
@Suite struct CapacityTests {
    private static func model(_ options: String..., costs: MeasuredCosts? = nil) throws -> CapacityModel {
        CapacityModel(try CapacityAssumptions.parse(options), try costs ?? MeasuredCosts())
    }

    private static func line(_ what: String, of model: CapacityModel) throws -> CapacityModel.Line {
        let lines = model.sections.flatMap(\.lines).filter { $0.what == what }
        #expect(lines.count == 1)
        return try #require(lines.first)
    }

    private static func withFile<Result>(_ text: String, _ body: (String) throws -> Result) throws -> Result {
        let file = FileManager.default.temporaryDirectory.appending(path: "capacity-\(UUID()).json")
        try Data(text.utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        return try body(file.path)
    }

    @Test(arguments: [
        ("messages, mean", 23_148.15), ("messages, peak", 46_296.30),
        ("queues that a message goes to, its sender's too", 4.4), ("deliveries, peak", 203_703.70),
        ("sessions, peak", 10_000_000), ("presence published to each friend, peak", 1_157_407.41),
        ("presence to friends online who watch, peak", 46_296.30),
        // 10,000,000 ÷ 10,800 = 925.93; (46,296 + 203,704 + 46,296) × 66 µs ÷ 600,000 µs = 32.59
        ("by sessions", 926), ("by processor time, a core each", 33), ("gateways", 926),
        ("memory of their sessions", 54.272),
        ("time of a message and its deliveries", 270.4), ("position checks, and presence", 1_557_407.41),
        // (46,296 × 270.4 µs = 12.52 s) + (1,557,407 ÷ 180,000 = 8.65), ÷ 60 % = 35.28; 1,016.11 GB ÷ 19.2 GB = 52.92
        ("shards by processor time, a core each", 36), ("queues", 880), ("users and conversations", 90),
        ("presence pairs", 35), ("remembered sends", 11.11), ("shards by memory", 53),
        ("shards, without replicas", 53),
        // 46,296 × 27 µs ÷ 600,000 µs = 2.08
        ("workers, a core each", 3), ("rows written by PostgreSQL, peak", 46_296.30), ("cores of PostgreSQL", 3),
        ("storage a day", 3.24), ("storage a year", 1182.6),
        // 10,000,000 searching users × 10 searches × 20 bytes: what is usually called 24,000 and 48,000 a second.
        ("suggestions asked for, mean", 23_148.15), ("suggestions asked for, peak", 46_296.30),
    ])
    func fiftyMillionUsers(_ what: String, _ expected: Double) throws {
        let value = try Self.line(what, of: Self.model()).result.value
        #expect(abs(value - expected) < 0.006, "\(what): \(value)")
    }

    @Test func optionsCount() throws {
        // 86,400 users × 10 ÷ 86,400 s = 10/s; × 3; all to groups of 5.
        let model = try Self.model(
            "--dau",
            "86400",
            "--messages",
            "10",
            "--peak",
            "3",
            "--group-share",
            "1",
            "--group-size",
            "5",
            "--replication",
            "1",
            "--message-bytes",
            "1000"
        )
        #expect(try Self.line("messages, mean", of: model).result.value == 10)
        #expect(try Self.line("messages, peak", of: model).result.value == 30)
        #expect(try Self.line("deliveries, peak", of: model).result.value == 150)
        // 864,000 messages of 1,000 B
        #expect(abs(try Self.line("storage a day", of: model).result.value - 0.000864) < 1e-12)
    }

    @Test func processorTimeDecidesWhereSessionsAreFew() throws {
        let model = try Self.model("--online-share", "0.001", "--watched-share", "0", "--queue-hours", "0")
        // 50,000 ÷ 10,800 = 4.6; 250,000 × 66 µs ÷ 600,000 µs = 27.5
        #expect(try Self.line("by sessions", of: model).result.value == 5)
        #expect(try Self.line("gateways", of: model).result.value == 28)
        // (90 + 11.1) GB ÷ 19.2 GB = 5.3; (12.52 + 1,159,407 ÷ 180,000) ÷ 60 % = 31.6
        #expect(try Self.line("shards by memory", of: model).result.value == 6)
        #expect(try Self.line("shards, without replicas", of: model).result.value == 32)
    }

    @Test func measuredCostsReplaceTheDefaults() throws {
        let chat = """
            {"scenario":"chat","sent":5,"server_cpu_us_per_message":
             {"gateways":60,"workers":6,"redis":36,"postgres":12,"total":114}}
            """
        let costs = try Self.withFile(chat) { chat in
            try Self.withFile(#"{"scenario":"connect","rss_kb_per_session":10}"#) { connect in
                try MeasuredCosts(chat: chat, connect: connect)
            }
        }
        let model = try Self.model(costs: costs)
        #expect(try Self.line("time of a message and its deliveries", of: model).result.value == 36 + 4.4 * 16)
        #expect(try Self.line("memory of their sessions", of: model).result.value == 102.4)
        // 296,296 × 20 µs ÷ 600,000 µs = 9.88; 46,296 × 6 and 12 µs ÷ 600,000 µs = 0.46 and 0.93
        #expect(try Self.line("by processor time, a core each", of: model).result.value == 10)
        #expect(try Self.line("workers, a core each", of: model).result.value == 1)
        #expect(try Self.line("cores of PostgreSQL", of: model).result.value == 1)
    }

    @Test func theArithmeticIsShown() throws {
        let model = try Self.model()
        let mean = try Self.line("messages, mean", of: model)
        #expect(mean.working.text == "50,000,000 users × 40 messages ÷ 86,400 s")
        #expect(mean.result.text == "23,148/s")
        #expect(try Self.line("messages, peak", of: model).working.text == "23,148/s × 2 peak")
        let shards = try Self.line("shards by memory", of: model).working
        #expect(shards.text == "(880 GB + 90 GB + 35 GB + 11.11 GB) ÷ (32 GB × 60 %)")
        #expect(try Self.line("gateways", of: model).working.text == "the larger of 926 and 33")
    }

    @Test(arguments: [
        (0, "0"), (0.994, "0.99"), (2, "2"), (4.40, "4.4"), (10, "10"), (99.99, "99.99"), (100, "100"), (999.4, "999"),
        (1000, "1,000"), (1e6, "1,000,000"), (123_456_789, "123,456,789"),
    ])
    func numbersAsShown(_ value: Double, _ text: String) {
        #expect(Working.shown(value) == text)
        #expect(Working.shown(value, "/s") == "\(text)/s")
        #expect(Working.shown(value, "GB") == "\(text) GB")
    }

    @Test(arguments: [
        ["--dau", "0"], ["--dau", "-5"], ["--dau", "nan"], ["--dau", "inf"], ["--dau", "many"],
        ["--online-share", "1.1"],
        ["--group-share", "-0.1"], ["--watched-share", "2"], ["--search-share", "50"], ["--group-size", "1"],
        ["--peak", "0.5"], ["--utilisation", "0"], ["--utilisation", "1.01"], ["--replication", "0"],
        ["--sessions-per-gateway", "0"], ["--heartbeat", "0"], ["--redis-calls", "0"], ["--shard-gb", "0"],
        ["--friends", "-1"], ["--queue-hours", "-1"],
    ])
    func impossibleAssumptions(_ options: [String]) {
        let error = #expect(throws: (any Error).self) { try CapacityAssumptions.parse(options) }
        #expect(error.map { CapacityAssumptions.message(for: $0) }?.contains(options[0]) == true)
    }

    @Test(arguments: [
        "", "{", "[]", "{}", #"{"scenario":"connect"}"#, #"{"scenario":"chat"}"#,
        #"{"scenario":"chat","server_cpu_us_per_message":{"gateways":1,"redis":1}}"#,
        #"{"scenario":"chat","server_cpu_us_per_message":{"gateways":0,"workers":0,"redis":0,"postgres":0}}"#,
    ])
    func notAChatResult(_ text: String) throws {
        try Self.withFile(text) { path in
            let error = #expect(throws: LoadError.self) { try MeasuredCosts(chat: path) }
            #expect(error?.description.hasPrefix(path) == true)
        }
    }

    @Test(arguments: ["{}", #"{"scenario":"connect"}"#, #"{"scenario":"connect","rss_kb_per_session":-0.5}"#])
    func notAConnectResult(_ text: String) throws {
        try Self.withFile(text) { path in
            let error = #expect(throws: LoadError.self) { try MeasuredCosts(connect: path) }
            #expect(error?.description.hasPrefix(path) == true)
        }
    }

    @Test func aMissingResult() {
        let error = #expect(throws: LoadError.self) { try MeasuredCosts(chat: "/nowhere/chat.json") }
        #expect(error?.description.hasPrefix("/nowhere/chat.json cannot be read") == true)
    }
}
