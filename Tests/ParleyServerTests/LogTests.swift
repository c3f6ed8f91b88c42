import Foundation
import Logging
import TestSupport
import Testing

@testable import ParleyServer

@Suite struct LogTests {
    private func line(_ format: LogFormat, _ message: String, _ metadata: Logger.Metadata) -> String {
        let time = Date(timeIntervalSince1970: 1_795_439_712.5)
        return LogLine(time: time, level: .notice, message: message, module: "Tests", metadata: metadata).text(format)
    }

    @Test func `text is one line of words`() {
        #expect(
            line(.text, "gateway\nstarts", ["name": "gateway-1", "error": "a \"b\"\nc=d", "none": ""])
                == "2026-11-23T13:15:12.500Z notice gateway starts error=\"a \\\"b\\\"\\nc=d\" name=gateway-1 none=\"\"\n"
        )
    }

    @Test func `json is an object a line`() throws {
        let text = line(.json, "a \"b\"\nc", ["key \"x\"": "1\n2", "list": ["a", "b"]])
        #expect(text.split(separator: "\n").count == 1 && text.hasSuffix("\n"))
        let object = try JSONDecoder().decode([String: String].self, from: Data(text.utf8))
        #expect(object["message"] == "a \"b\"\nc" && object["key \"x\""] == "1\n2" && object["level"] == "notice")
        #expect(object["time"] == "2026-11-23T13:15:12.500Z" && object["module"] == "Tests")
    }

    @Test func `lines name the process and the request`() async throws {
        let pipe = Pipe()
        let sink = LogSink(descriptor: pipe.fileHandleForWriting.fileDescriptor)
        var logger = Logger(label: "test") { _ in ServerLogHandler(format: .json, sink: sink) }
        logger[metadataKey: "process"] = "gateway-1"
        logger[metadataKey: "hb.request.id"] = "7"
        await RequestID.$current.withValue("abc") {
            await Task { [logger] in logger.info("inside") }.value
        }
        logger.info("outside")
        logger.debug("not logged")
        #expect(try await eventually { !sink.isWriting })
        try pipe.fileHandleForWriting.close()
        let lines = try #require(String(bytes: pipe.fileHandleForReading.readToEnd() ?? Data(), encoding: .utf8))
            .split(separator: "\n").map { try JSONDecoder().decode([String: String].self, from: Data($0.utf8)) }
        #expect(lines.map { $0["message"] } == ["inside", "outside"])
        #expect(lines.map { $0["request"] } == ["abc", nil])
        #expect(lines.allSatisfy { $0["process"] == "gateway-1" && $0["hb.request.id"] == nil })
    }

    /// A pipe holds 64 KiB; nobody reads this one until much more was logged.
    @Test func `a reader that is stuck stops nobody, and learns what it missed`() async throws {
        let pipe = Pipe()
        let sink = LogSink(descriptor: pipe.fileHandleForWriting.fileDescriptor, limit: 10_000)
        let line = String(repeating: "x", count: 999) + "\n"
        for _ in 0..<500 { sink.write(line) }
        let dropped = sink.dropped
        #expect(dropped > 300)
        let reader = pipe.fileHandleForReading
        let text = Task.detached { String(decoding: try reader.readToEnd() ?? Data(), as: UTF8.self) }
        // The last bytes are only written when the first are read.
        #expect(try await eventually { !sink.isWriting })
        try pipe.fileHandleForWriting.close()
        let lines = try await text.value.split(separator: "\n")
        let missing = lines.compactMap { $0.hasSuffix("did not fit here") ? Int($0.prefix { $0.isNumber }) : nil }
        #expect(missing.reduce(0, +) == dropped)
        #expect(lines.count { $0.hasPrefix("x") } == 500 - dropped)
    }

    @Test(arguments: [
        ("abc-DEF_1.2", true), (String(repeating: "a", count: 64), true), (String(repeating: "a", count: 65), false),
        ("", false), ("a b", false), ("a\u{7f}", false), ("é", false), ("a\"", false),
    ])
    func `a sane name of a request is kept`(given: String, isKept: Bool) {
        let id = RequestID.make(given: given)
        #expect((id == given) == isKept)
        #expect(id.wholeMatch(of: /[A-Za-z0-9._-]{1,64}/) != nil)
    }
}
