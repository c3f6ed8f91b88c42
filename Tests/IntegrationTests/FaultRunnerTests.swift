import ArgumentParser
import Foundation
import TestSupport
import Testing

@testable import parley_load

/// Fault scripts carried out, by a program that only notes what it was told.
@Suite(.timeLimit(.minutes(2))) struct FaultRunnerTests {
    /// A directory with a stack.json and, in place of Scripts/stack, a program that appends its command to a log.
    private final class FakeStack: Sendable {
        let directory: String

        /// - Parameter program: what else it does, in sh; `$1 $2` is the command and `$4` the directory.
        init(_ program: String = "") throws {
            directory = NSTemporaryDirectory() + "parley-faults-\(UUID().uuidString)"
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
            let text = "#!/bin/sh\n\(program)\necho \"$1 $2\" >> \"$4/log\"\n"
            try Data(text.utf8).write(to: URL(fileURLWithPath: path("stack")))
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path("stack"))
        }

        deinit { try? FileManager.default.removeItem(atPath: directory) }

        func path(_ name: String) -> String { "\(directory)/\(name)" }

        /// What it was told, in order.
        var log: [String] {
            let text = (try? String(contentsOfFile: path("log"), encoding: .utf8)) ?? ""
            return text.split(separator: "\n").map(String.init)
        }

        func runner(_ script: String) throws -> FaultRunner {
            FaultRunner(
                try FaultScript(script, processes: ["a", "b"]),
                on: try StackCommand(path("stack"), stackPath: path("stack.json"))
            )
        }
    }

    private static func wait(for marks: Int, of runner: FaultRunner) async throws {
        #expect(try await eventually { runner.marks.count == marks }, "\(runner.marks)")
    }

    @Test func `faults happen in order and leave a mark each`() async throws {
        let stack = try FakeStack()
        let runner = try stack.runner("0s kill a\n200ms start a\n100ms pause b 200ms")
        let value = try await runner.during {
            try await Self.wait(for: 4, of: runner)
            return 7
        }
        #expect(value == 7)
        #expect(stack.log.filter { $0.hasSuffix("a") } == ["kill a", "start a"])
        #expect(stack.log.filter { $0.hasSuffix("b") } == ["pause b", "resume b"])
        #expect(Set(runner.marks.map(\.what)) == ["kill a", "start a", "pause b", "resume b"])
        for (mark, earliest) in [("start a", 0.2), ("pause b", 0.1), ("resume b", 0.3)] {
            #expect(try #require(runner.marks.first { $0.what == mark }).s >= earliest)
        }
    }

    @Test func `a fault waits for the one before it`() async throws {
        let stack = try FakeStack(#"while [ "$1" = start ] && [ ! -e "$4/go" ]; do sleep 0.05; done"#)
        let runner = try stack.runner("0s kill a\n1ms start a\n2ms kill b\n3ms start b")
        try await runner.during {
            try await Self.wait(for: 1, of: runner)
            try await Task.sleep(for: .milliseconds(300))
            #expect(stack.log == ["kill a"])
            try Data().write(to: URL(fileURLWithPath: stack.path("go")))
            try await Self.wait(for: 4, of: runner)
        }
        #expect(stack.log == ["kill a", "start a", "kill b", "start b"])
    }

    @Test func `what is under way when the load ends is waited for`() async throws {
        let stack = try FakeStack(#"[ "$1" != start ] || { touch "$4/begun"; sleep 1; }"#)
        let runner = try stack.runner("0s kill a\n1ms start a")
        try await runner.during {
            let hasBegun = try await eventually { FileManager.default.fileExists(atPath: stack.path("begun")) }
            #expect(hasBegun)
        }
        #expect(stack.log == ["kill a", "start a"])
    }

    @Test func `a fault that fails ends the run with what the program printed`() async throws {
        let stack = try FakeStack(#"[ "$2" != b ] || { echo "no such luck" >&2; exit 3; }"#)
        let runner = try stack.runner("0s pause a\n300ms kill b")
        let error = await #expect(throws: LoadError.self) {
            try await runner.during { try await Task.sleep(for: .seconds(3600)) }
        }
        #expect(
            error?.description == "line 2 of the fault script: kill b failed with exit status 3: no such luck"
        )
        #expect(stack.log == ["pause a", "resume a"])
        #expect(runner.marks.map(\.what) == ["pause a"])
    }

    @Test func `what is left paused is resumed and what is left ended is not started`() async throws {
        let stack = try FakeStack()
        let runner = try stack.runner("0s pause a\n0s kill b\n1m resume a")
        try await runner.during { try await Self.wait(for: 2, of: runner) }
        #expect(Set(stack.log.prefix(2)) == ["pause a", "kill b"])
        #expect(stack.log.dropFirst(2) == ["resume a"])
    }

    @Test func `a load that fails or is cancelled leaves nothing paused`() async throws {
        struct Failure: Error {}
        let failing = try FakeStack()
        let first = try failing.runner("0s pause a")
        await #expect(throws: Failure.self) {
            try await first.during {
                try await Self.wait(for: 1, of: first)
                throw Failure()
            }
        }
        #expect(failing.log == ["pause a", "resume a"])

        let cancelled = try FakeStack()
        let second = try cancelled.runner("0s pause a\n1m kill b")
        let run = Task { try await second.during { try await Task.sleep(for: .seconds(3600)) } }
        try await Self.wait(for: 1, of: second)
        run.cancel()
        await #expect(throws: CancellationError.self) { try await run.value }
        #expect(cancelled.log == ["pause a", "resume a"])
    }

    @Test func `options are refused with what is missing`() throws {
        let stack = try FakeStack()
        func message(_ arguments: [String], stackPath: String?, seconds: Double = 60) throws -> String? {
            let options = try FaultOptions.parse(arguments)
            return #expect(throws: LoadError.self) { try options.runner(stackPath: stackPath, seconds: seconds) }?
                .description
        }
        func write(_ text: String, to name: String) throws {
            try Data(text.utf8).write(to: URL(fileURLWithPath: stack.path(name)))
        }
        try write("5s kill redis", to: "faults")
        let described = stack.path("stack.json")
        let faults = ["--faults", stack.path("faults"), "--stack-command", stack.path("stack")]
        #expect(try FaultOptions.parse([]).runner(stackPath: nil, seconds: 60) == nil)
        #expect(try message(faults, stackPath: nil)?.contains("--stack") == true)
        #expect(try message(faults, stackPath: described)?.contains("stack.json does not describe") == true)
        let store = #"{"name":"NAME","url":"redis://127.0.0.1:1","pid":0,"start_ticks":1}"#
        let (redis, postgres) = (store.replacing("NAME", with: "redis"), store.replacing("NAME", with: "postgres"))
        try write(#"{"gateways":[],"workers":[],"redis":\#(redis),"postgres":\#(postgres)}"#, to: "stack.json")
        #expect(try FaultOptions.parse(faults).runner(stackPath: described, seconds: 60) != nil)
        #expect(try message(faults, stackPath: described, seconds: 5)?.contains("the load ends after 5.0 s") == true)
        #expect(try message(["--faults", "/nowhere"], stackPath: described)?.contains("/nowhere cannot be") == true)
        let absent = ["--faults", stack.path("faults"), "--stack-command", stack.path("absent")]
        #expect(try message(absent, stackPath: described)?.contains("there is no program") == true)
        try write("\n5s kill worker-1", to: "faults")
        #expect(try message(faults, stackPath: described)?.contains("faults, line 2: expected a process") == true)
    }
}
