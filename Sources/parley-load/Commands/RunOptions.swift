import ArgumentParser
import Foundation
import NIOCore
import NIOPosix
import ParleyClient

/// What all scenarios take.
struct RunOptions: ParsableArguments {
    @Option(help: "Base URLs of the gateways, separated by commas.")
    var gateways: String?

    @Option(
        help: "The stack.json of a stack: its gateways unless --gateways is given, and its processes' CPU and memory."
    )
    var stack: String?

    @Option(help: "How many users.")
    var users = 1000

    @Option(help: "How long to measure, in seconds.")
    var duration = 30.0

    @Option(help: "Generator processes; each may hold as many sockets as the system lets a process open.")
    var processes = 1

    @Option(help: "Where to write the results as JSON.")
    var json: String?

    @Option(help: "Where to write the results as one page with charts.")
    var html: String?

    @Option(help: "A folder for the journals, which `parley-load check` judges again.")
    var journal: String?

    @OptionGroup var receiving: ReceiveOptions
    @OptionGroup var seeding: SeedOptions
    @OptionGroup var faulty: FaultOptions

    func validate() throws {
        guard gateways != nil || stack != nil else { throw ValidationError("--gateways or --stack is needed") }
        guard 1...10_000_000 ~= users else { throw ValidationError("--users must be positive") }
        guard duration > 0, duration < 1e6 else { throw ValidationError("--duration must be positive") }
        guard 1...64 ~= processes else { throw ValidationError("--processes must be from 1 to 64") }
    }

    /// Runs what the scenario asks for, and reports.
    /// - Parameter adjust: sets the scenario's part of the plan.
    func run(
        _ scenario: String,
        _ schedule: Schedule,
        drain: Double = 0,
        adjust: (inout LoadPlan) -> Void
    ) async throws {
        try await reporting { group in
            let description = try stack.map { try StackDescription(path: $0) }
            let urls = gateways?.split(separator: ",").map(String.init) ?? description?.gateways.map(\.url) ?? []
            guard !urls.isEmpty else { throw LoadError("no gateway to connect to") }
            var plan = LoadPlan(scenario: scenario, gateways: urls)
            adjust(&plan)
            plan.receive = receiving.plan
            if let journal {
                try makeFolder(journal)
                plan.journal = journal
            }
            plan.seedDatabase = try seeding.seeder(stack: description)?.database
            var run = LoadRun(plan: plan, schedule: schedule, group: group)
            (run.drain, run.processes) = (drain, processes)
            run.meter = try stack.map { try ServerMeter(stackPath: $0, eventLoop: group.any()) }
            run.faults = try faulty.runner(stackPath: stack, seconds: schedule.warmup + schedule.duration)
            run.interrupt.listen()
            let report = try await run.run()
            await run.meter?.close()
            return try finish(report)
        }
    }

    /// Journals of another run in it would be judged with this one's.
    private func makeFolder(_ path: String) throws {
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw LoadError("\(path) cannot be made: \(error.localizedDescription)")
        }
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        for name in names where name.hasSuffix(".journal") {
            throw LoadError("\(path) holds the journal of another run (\(name)): give an empty folder")
        }
    }

    private func finish(_ report: RunReport) throws -> ExitCode {
        report.printTable()
        let result = try resultJSON(report)
        return save([(json, result), (html, html == nil ? "" : HTMLReport.render(json: result))], report.exitCode)
    }
}

extension RunReport {
    var exitCode: ExitCode { !holds ? .brokenPromise : doubt == nil ? .success : .couldNotRun }
}

/// Writes those files that have a path. What cannot be written must not hide a broken promise.
func save(_ files: [(path: String?, text: String)], _ code: ExitCode) -> ExitCode {
    var code = code
    for case (let path?, let text) in files {
        do throws(LoadError) {
            try write(text, to: path)
        } catch {
            complain(error)
            if code.isSuccess { code = .couldNotRun }
        }
    }
    return code
}

func complain(_ error: any CustomStringConvertible) {
    FileHandle.standardError.write(Data("parley-load: \(error)\n".utf8))
}

extension ExitCode {
    static let brokenPromise = ExitCode(1)
    static let couldNotRun = ExitCode(2)
}

/// Runs a command's body with an event loop, and ends the process; errors become a line for the person who started it
/// and an exit code.
func reporting(_ body: (MultiThreadedEventLoopGroup) async throws -> ExitCode) async throws -> Never {
    // A generator process that ended is noticed by its answers.
    signal(SIGPIPE, SIG_IGN)
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    var code: ExitCode
    do {
        code = try await body(group)
    } catch let error as any CustomStringConvertible {
        complain(error)
        code = .couldNotRun
    }
    // What was left to itself when it was interrupted does not hold the process.
    exit(code.rawValue)
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
                + "raise `ulimit -n`, or spread the users over more --processes"
        )
    }
}

/// A duration in seconds as NIO counts it.
func amount(seconds: Double) -> TimeAmount { .nanoseconds(Int64(seconds * 1e9)) }
