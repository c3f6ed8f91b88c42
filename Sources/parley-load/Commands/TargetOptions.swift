import ArgumentParser
import Foundation
import NIOCore
import NIOPosix
import ParleyClient

/// What all scenarios take.
struct TargetOptions: ParsableArguments {
    @Option(help: "Base URLs of the gateways, separated by commas.")
    var gateways: String?

    @Option(
        help: "The stack.json of a stack: its gateways unless --gateways is given, and its processes' CPU and memory."
    )
    var stack: String?

    @Option(help: "How many users, each with one device; chat pairs them.")
    var users = 1000

    @Option(help: "How long to measure, in seconds.")
    var duration = 30.0

    @Option(help: "Where to write the results as JSON.")
    var json: String?

    @Option(help: "Event loops of the generator.")
    var threads = 1

    func validate() throws {
        guard gateways != nil || stack != nil else { throw ValidationError("--gateways or --stack is needed") }
        guard users > 0 else { throw ValidationError("--users must be positive") }
        guard duration > 0, duration < 1e6 else { throw ValidationError("--duration must be positive") }
        guard 1...64 ~= threads else { throw ValidationError("--threads must be from 1 to 64") }
    }

    func stackDescription() throws -> StackDescription? {
        try stack.map { try StackDescription(path: $0) }
    }

    func targets(of stack: StackDescription?) throws -> [Target] {
        let urls = gateways?.split(separator: ",").map(String.init) ?? stack?.gateways.map(\.url) ?? []
        guard !urls.isEmpty else { throw LoadError("no gateway to connect to") }
        return try urls.map { try Target(url: $0) }
    }
}

/// Runs a scenario and turns what it comes to into an exit code.
/// - Parameter body: false when a promise was broken.
func runScenario(threads: Int, _ body: (MultiThreadedEventLoopGroup) async throws -> Bool) async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: threads)
    var code: Int32
    do {
        code = try await body(group) ? 0 : 1
    } catch let error as any CustomStringConvertible {
        FileHandle.standardError.write(Data("parley-load: \(error)\n".utf8))
        code = 2
    }
    try await group.shutdownGracefully()
    if code != 0 { throw ExitCode(code) }
}

/// Raises this process's bound on descriptors as far as the system lets it.
/// - Throws: when that is too low for so many sockets.
func allowDescriptors(for sockets: Int) throws {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    let spare = 200
    guard limit.rlim_cur >= sockets + spare else {
        throw LoadError(
            "\(sockets) sockets need \(sockets + spare) descriptors and this process may open \(limit.rlim_cur): "
                + "raise `ulimit -n`, or spread the users over several processes"
        )
    }
}

/// A duration in seconds as NIO counts it.
func amount(seconds: Double) -> TimeAmount { .nanoseconds(Int64(seconds * 1e9)) }

/// So many users in whole pairs, in equal shares of whole pairs.
func shares(of count: Int, loops: Int, unit: Int) -> [Range<Int>] {
    let units = count / unit
    return (0..<loops).map { unit * (units * $0 / loops)..<unit * (units * ($0 + 1) / loops) }
}
