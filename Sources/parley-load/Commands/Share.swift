import ArgumentParser
import Foundation
import NIOPosix

/// What `--processes` starts.
struct Share: AsyncParsableCommand {
    static let configuration = CommandConfiguration(shouldDisplay: false)

    func run() async throws {
        // Ctrl-C reaches all processes of a terminal: the one that started this decides.
        signal(SIGINT, SIG_IGN)
        try await reporting { group in
            try await ProcessWorker.serve { LocalWorker($0, eventLoop: group.any()) }
            return .success
        }
    }
}
