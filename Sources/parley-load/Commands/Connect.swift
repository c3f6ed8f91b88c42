import ArgumentParser

struct Connect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Holds idle signed-in sessions, one a user, and tells what each costs the gateways.",
        discussion: """
            Above 5,000 sessions towards loopback gateways the sources are 127.0.0.2 and up. The memory a session takes
            is what the gateways' RSS grew by from before the first connection to the end of the hold: measure it on
            gateways that were started for it, since others fill memory that earlier sessions left free.
            """
    )

    @OptionGroup var run: RunOptions

    func run() async throws {
        try await run.run("connect", Schedule(warmup: 0, duration: run.duration)) { $0.idle = run.users }
    }
}
