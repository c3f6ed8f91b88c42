import Foundation
import TestSupport
import Testing

@testable import parley_load

/// Fault scripts as text: what is done when, and what is refused.
@Suite struct FaultScriptTests {
    private static let processes = ["redis", "postgres", "gateway-1", "gateway-2", "worker-1"]

    private static func script(_ text: String) throws -> FaultScript {
        try FaultScript(text, processes: processes)
    }

    /// `time action process` of each fault, in order.
    private static func plan(_ text: String) throws -> [String] {
        try script(text).faults.map { "\($0.time) \($0.what)" }
    }

    @Test func `lines are put in order of time and a pause ends by itself`() throws {
        let script = try Self.script(
            """
            # first a gateway

            1m stop worker-1
            12s pause redis 3s   # its clients wait
             8s\tstart gateway-1
            500ms kill gateway-1
            """
        )
        #expect(
            script.faults == [
                .init(time: .milliseconds(500), action: .kill, process: "gateway-1", line: 6),
                .init(time: .seconds(8), action: .start, process: "gateway-1", line: 5),
                .init(time: .seconds(12), action: .pause, process: "redis", line: 4),
                .init(time: .seconds(15), action: .resume, process: "redis", line: 4),
                .init(time: .seconds(60), action: .stop, process: "worker-1", line: 3),
            ]
        )
        #expect(script.end == .seconds(60))
    }

    @Test func `of the same time the first line comes first`() throws {
        let lines = ["0s kill gateway-2", "0s kill redis", "0s start gateway-2", "0s start redis", "0s kill gateway-2"]
        #expect(try Self.plan(lines.joined(separator: "\n")) == lines.map { $0.replacing("0s", with: "0.0 seconds") })
        let resumed = ["3s pause redis 2s", "5s kill redis"]
        #expect(try Self.script(resumed.joined(separator: "\r\n")).faults.map(\.action) == [.pause, .resume, .kill])
    }

    @Test(arguments: [
        ("", "no line says what to do"),
        ("# nothing\n\n", "no line says what to do"),
        ("5s kill redis\nsoon kill postgres", "line 2: expected a time such as 500ms, 5s or 1m, found soon"),
        ("5 kill redis", "line 1: expected a time"),
        ("-5s kill redis", "line 1: expected a time"),
        ("1.5s kill redis", "line 1: expected a time"),
        ("٥s kill redis", "line 1: expected a time"),
        ("99999999999999999999s kill redis", "line 1: expected a time"),
        ("s kill redis", "line 1: expected a time"),
        ("5s", "line 1: expected one of start, stop, kill, pause, resume, found the end"),
        ("5s restart redis", "line 1: expected one of start, stop, kill, pause, resume, found restart"),
        ("5s kill", "line 1: expected a process of the stack (redis, postgres, gateway-1, gateway-2, worker-1), found"),
        ("5s kill gateway-3", "worker-1), found gateway-3"),
        ("5s kill redis 3s", "line 1: expected the end of the line, found 3s"),
        ("5s pause redis long", "line 1: expected a time such as 3s for the length of the pause, found long"),
        ("5s pause redis 3s 4s", "line 1: expected the end of the line, found 4s"),
        ("5s start redis", "line 1: at 5.0 seconds redis cannot start: expected a stop or kill of it before"),
        ("9s kill redis\n5s stop redis", "line 1: at 9.0 seconds redis cannot kill: expected a start or pause or"),
        ("5s resume redis", "line 1: at 5.0 seconds redis cannot resume: expected a pause of it before"),
        ("5s pause redis 4s\n6s kill redis", "line 1: at 9.0 seconds redis cannot resume"),
        ("5s pause redis\n6s pause redis", "line 2: at 6.0 seconds redis cannot pause"),
    ])
    func `what cannot be followed is refused with its line`(_ text: String, _ message: String) throws {
        let error = #expect(throws: LoadError.self) { try Self.script(text) }
        #expect(try #require(error).description.contains(message), "\(error?.description ?? "")")
    }

    @Test(arguments: ["each-process", "pauses"])
    func `the scripts that come along fit a stack of two gateways and a worker`(_ name: String) throws {
        let text = try String(contentsOfFile: "\(PackageRoot.path)/Scripts/faults/\(name).txt", encoding: .utf8)
        let script = try Self.script(text)
        #expect(Set(script.faults.map(\.process)) == Set(Self.processes))
        #expect(script.end < .seconds(60))
        // Nothing is left ended or paused.
        let last = Dictionary(script.faults.map { ($0.process, $0.action) }, uniquingKeysWith: { $1 })
        #expect(last.values.allSatisfy { $0 == .start || $0 == .resume })
    }
}
