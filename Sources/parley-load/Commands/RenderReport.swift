import ArgumentParser
import Foundation

struct RenderReport: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Makes one self-contained page of the results of an earlier run."
    )

    @Argument(help: "What --json wrote.")
    var results: String

    @Option(help: "Where to write the page.")
    var html: String

    func run() throws {
        do throws(LoadError) {
            try write(HTMLReport.render(json: Self.json(at: results)), to: html)
        } catch {
            complain(error)
            throw ExitCode(2)
        }
    }

    private static func json(at path: String) throws(LoadError) -> String {
        let json: String
        do {
            json = try String(contentsOfFile: path, encoding: .utf8)
        } catch {
            throw LoadError("\(path) could not be read: \(error.localizedDescription)")
        }
        guard (try? JSONSerialization.jsonObject(with: Data(json.utf8))) is [String: Any] else {
            throw LoadError("\(path) holds no results: it is not a JSON object")
        }
        return json
    }
}
