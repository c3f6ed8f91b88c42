import Logging
import NIOCore
import ParleyWire

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// How a line of the log is written.
public enum LogFormat: String, Sendable, CaseIterable {
    /// `time level message key=value …`
    case text
    /// An object, with the metadata as members beside `time`, `level`, `message` and `module`.
    case json
}

/// A line of the log.
struct LogLine {
    let time: Date
    let level: Logger.Level
    let message: String
    let module: String
    let metadata: Logger.Metadata

    func text(_ format: LogFormat) -> String {
        let time = time.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        let sorted = metadata.sorted { $0.key < $1.key }.map { (key: $0.key, value: "\($0.value)") }
        switch format {
        case .text:
            let pairs = sorted.map { " \($0.key)=\(Self.word($0.value))" }.joined()
            return "\(time) \(level) \(Self.oneLine(message))\(pairs)\n"
        case .json:
            var json = ByteBuffer()
            json.beginJSONObject()
            json.writeJSONField("time", time)
            json.writeJSONField("level", level.rawValue)
            json.writeJSONField("message", message)
            json.writeJSONField("module", module)
            for (key, value) in sorted {
                json.writeString(",")
                json.writeJSONString(key)
                json.writeString(":")
                json.writeJSONString(value)
            }
            json.endJSONObject()
            return String(buffer: json) + "\n"
        }
    }

    /// A value as one word, in quotes if need be.
    private static func word(_ value: String) -> String {
        let isPlain = !value.isEmpty && value.allSatisfy { $0 > " " && $0 != "\"" && $0 != "=" && $0.isASCII }
        guard !isPlain else { return value }
        var json = ByteBuffer()
        json.writeJSONString(value)
        return String(buffer: json)
    }

    private static func oneLine(_ text: String) -> String {
        text.contains(where: \.isNewline) ? text.split(whereSeparator: \.isNewline).joined(separator: " ") : text
    }
}
