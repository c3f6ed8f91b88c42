import ArgumentParser

struct Group: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Members of groups write to them; every copy is checked.",
        discussion: """
            Each user is in one group, all are online. A message counts once in --rate, whatever the size of its group;
            deliveries a second are those to all devices of all members, the sender's too.
            """
    )

    @OptionGroup var run: RunOptions
    @OptionGroup var chat: ChatOptions

    @Option(help: "Members of a group.")
    var members = 100

    func validate() throws {
        guard 2...500 ~= members else { throw ValidationError("--members must be from 2 to 500") }
        try chat.validate(users: run.users, members: members)
    }

    func run() async throws {
        try await run.run("group", try chat.schedule(duration: run.duration), drain: chat.drain) {
            var plan = chat.plan(users: run.users)
            (plan.members, plan.isGroup) = (members, true)
            $0.chat = plan
        }
    }
}
