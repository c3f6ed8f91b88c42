import Foundation
import ParleyClient

/// What Scripts/stack writes about the processes it runs.
struct StackDescription: Decodable, Sendable {
    struct Process: Decodable, Sendable {
        var pid: Int32
    }

    struct Gateway: Decodable, Sendable {
        var name: String
        var url: String
        var pid: Int32
    }

    var gateways: [Gateway]
    var workers: [Process]
    var redis: Process
    var postgres: Process

    init(path: String) throws {
        do {
            self = try JSONDecoder().decode(Self.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
        } catch {
            throw LoadError("\(path) does not describe a running stack: \(error.localizedDescription)")
        }
    }
}

/// What keeps a run from happening, in a line for the person who started it.
struct LoadError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
