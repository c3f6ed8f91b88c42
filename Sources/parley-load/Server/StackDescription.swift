import Foundation
import ParleyClient

/// What Scripts/stack writes about the processes it runs, anew whenever it starts one.
struct StackDescription: Decodable, Sendable {
    struct Process: Decodable, Sendable {
        var name: String
        var pid: Int32
        var start_ticks: Int?
        var id: ProcessID { ProcessID(pid: pid, startTicks: start_ticks) }
    }

    struct Server: Decodable, Sendable {
        var name: String
        var url: String
        var pid: Int32
        var start_ticks: Int?
        var id: ProcessID { ProcessID(pid: pid, startTicks: start_ticks) }
    }

    var gateways: [Server]
    var workers: [Process]
    var redis: Server
    /// Its URL holds a password: not to be shown.
    var postgres: Server

    init(path: String) throws {
        do {
            self = try JSONDecoder().decode(Self.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
        } catch {
            throw LoadError("\(path) does not describe a running stack: \(error.localizedDescription)")
        }
    }

    var processes: [(name: String, group: ServerGroup, id: ProcessID)] {
        [(redis.name, .redis, redis.id), (postgres.name, .postgres, postgres.id)]
            + gateways.map { ($0.name, .gateways, $0.id) } + workers.map { ($0.name, .workers, $0.id) }
    }
}

/// What a process of the stack does.
enum ServerGroup: Sendable {
    case gateways, workers, redis, postgres
}

/// What keeps a run from happening, in a line for the person who started it.
struct LoadError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
