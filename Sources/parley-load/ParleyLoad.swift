import ArgumentParser

@main
struct ParleyLoad: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "parley-load",
        abstract: "Puts load on a Parley and checks that it keeps its promise.",
        discussion: """
            Exit codes: 0 when every promise held, 1 when a message was lost, duplicated, reordered or leaked, a
            picture stayed wrong or a session did not hold, 2 when the run could not take place.
            """,
        subcommands: [
            Chat.self, Group.self, Connect.self, Mixed.self, Presence.self, Suggest.self, Resume.self, SelfTest.self,
            Check.self,
            RenderReport.self, Capacity.self,
            Share.self, PushMockCommand.self,
        ]
    )
}
