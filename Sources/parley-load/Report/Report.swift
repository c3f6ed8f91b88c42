import Foundation

func pad(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
}

func milliseconds(_ value: Double) -> String { String(format: "%.2f", value) }

func number(_ value: Double) -> String { String(format: "%.1f", value) }

/// Lines of a name and its value.
func printTable(_ rows: [(String, String)]) {
    let width = rows.map(\.0.count).max() ?? 0
    for (name, value) in rows {
        say("  " + name + String(repeating: " ", count: width - name.count + 3) + value)
    }
}

/// Results as JSON for people and programs.
func resultJSON(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
}

/// Writes a file, whole or not at all.
func write(_ text: String, to path: String) throws(LoadError) {
    do {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
    } catch {
        throw LoadError("\(path) could not be written: \(error.localizedDescription)")
    }
}

/// A line on the standard output, at once even where that is a file.
func say(_ line: String) {
    FileHandle.standardOutput.write(Data("\(line)\n".utf8))
}
