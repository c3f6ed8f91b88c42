import ArgumentParser

struct Mixed: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Pairs of users chat among many more sessions that are merely there.",
        discussion: "Every message is checked, as in chat."
    )

    @OptionGroup var run: RunOptions
    @OptionGroup var chat: ChatOptions

    @Option(help: "Idle sessions besides the users who chat.")
    var idle = 2000

    func validate() throws {
        try chat.validate(users: run.users)
        guard idle >= 0 else { throw ValidationError("--idle must not be negative") }
    }

    func run() async throws {
        try await run.run("mixed", try chat.schedule(duration: run.duration), drain: chat.drain) {
            $0.chat = chat.plan(users: run.users)
            $0.idle = idle
        }
    }
}
