import ArgumentParser
import ParleyServer

struct PushCommand: AsyncParsableCommand {
    enum Action: String, ExpressibleByArgument, CaseIterable {
        case vapid, dead, replay
    }

    static let configuration = CommandConfiguration(
        commandName: "push",
        abstract: "Make a key for Web Push, or look after what could not be pushed.",
        discussion: """
            vapid writes a key, to be kept in the file that PARLEY_PUSH_VAPID_KEY_FILE names. dead lists dead letters, the \
            oldest first: id, since when, how often tried, user, registration, and why; replay pushes those with --id, or \
            --all, as if they were new. These two need Redis alone.

            """ + Setting.help(for: [.top])
    )

    @Argument(help: "vapid, dead or replay.")
    var action: Action

    @Option(help: "Dead letters that are listed, at most.")
    var limit = 100

    @Option(name: .customLong("id"), help: "A dead letter to replay. May be repeated.")
    var ids: [String] = []

    @Flag(help: "Replay all of them.")
    var all = false

    @OptionGroup var options: SettingOptions

    func validate() throws {
        guard action != .replay || all != !ids.isEmpty else { throw ValidationError("replay takes --id or --all") }
    }

    func run() async throws {
        guard action != .vapid else { return print(VAPIDKey().text) }
        try await explaining {
            let letters = try await PushDeadLetters(settings: options.read(for: [.top]))
            if action == .dead {
                for line in try await letters.lines(limit: limit) where !Output.write(line + "\n") { break }
            } else {
                print("\(try await letters.replay(all ? nil : ids)) put back")
            }
            await letters.close()
        }
    }
}
