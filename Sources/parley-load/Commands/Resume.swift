import ArgumentParser
import NIOCore
import ParleyClient

struct Resume: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Devices come back and take what they missed: how long until the first of it, and until all.",
        discussion: """
            One member of a group writes while the others are away; then they come back, one after the other, each with
            the cursor that it left with. Times count from when a device begins to connect.
            """
    )

    @Option(help: "Base URLs of the gateways, separated by commas.")
    var gateways: String?

    @Option(help: "The stack.json of a stack: its gateways unless --gateways is given.")
    var stack: String?

    @Option(help: "How many devices come back.")
    var users = 50

    @Option(help: "Messages that each missed.")
    var missed = 1000

    @Option(help: "Bytes of a message's body.")
    var body = 100

    @Option(help: "Where to write the results as JSON.")
    var json: String?

    @OptionGroup var seeding: SeedOptions

    func validate() throws {
        guard gateways != nil || stack != nil else { throw ValidationError("--gateways or --stack is needed") }
        guard 1...499 ~= users else { throw ValidationError("--users must be from 1 to 499") }
        guard 1...9000 ~= missed else { throw ValidationError("--missed must be from 1 to 9000: queues keep 10000") }
        guard 1...16_384 ~= body else { throw ValidationError("--body must be from 1 to 16384") }
    }

    func run() async throws {
        try await reporting { group in
            let description = try stack.map { try StackDescription(path: $0) }
            let urls = gateways?.split(separator: ",").map(String.init) ?? description?.gateways.map(\.url) ?? []
            guard !urls.isEmpty else { throw LoadError("no gateway to connect to") }
            let run = ResumeRun(
                roster: Roster(
                    gateways: try urls.map { try Target(url: $0) },
                    group: group,
                    seeder: try seeding.seeder(stack: description)
                ),
                eventLoop: group.any(),
                users: users,
                missed: missed,
                bodyBytes: body
            )
            let result = try await run.run()
            result.printTable()
            return save([(json, try resultJSON(result))], result.incomplete == 0 ? .success : .brokenPromise)
        }
    }
}
