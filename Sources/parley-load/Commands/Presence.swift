import ArgumentParser
import ParleyWire

struct Presence: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Users come, go and lose their connections; their friends watch, and must see what is so.",
        discussion: """
            Each user is a friend of the next ones in a ring, and watches all friends. --rate changes a second: three in
            four are somebody coming or leaving, the others a connection that breaks and comes back, which no friend
            should see. Latencies count from a change to the socket of each friend. With --rate 0 the watches are merely
            held, which is what weighs a session that watches. At the end, and with --faults too, every picture must
            come to be the truth. Friends are written into the database: --seed-users is needed.

            With --messages the last gateway holds some more users, who write to each other, and latencies count from
            sends: what they feel of a gateway that dies elsewhere. Of several --processes the last is theirs alone.
            """
    )

    @OptionGroup var run: RunOptions

    @Option(help: "Friends of each user, an even number.")
    var friends = 10

    @Option(help: "Changes a second, of all users together.")
    var rate = 50.0

    @Option(help: "Messages a second between pairs of further users, all at the last gateway; goes with --rate 0.")
    var messages = 0.0

    @Flag(help: "Whoever loses their connection does not come back.")
    var stayAway = false

    @Option(help: "How long to change before measuring, in seconds.")
    var warmup = 5.0

    @Option(help: "How long to wait at the end until all pictures are right, in seconds.")
    var drain = 150.0

    private static let writers = 200

    func validate() throws {
        guard 2...ClientFrame.maximumWatchedUsers ~= friends, friends.isMultiple(of: 2), friends < run.users else {
            let most = ClientFrame.maximumWatchedUsers
            throw ValidationError("--friends must be even, from 2 to \(most), and below --users")
        }
        guard rate >= 0, rate <= 1e5 else { throw ValidationError("--rate must be from 0 to 100000") }
        guard messages >= 0, messages <= 1e5, messages == 0 || rate == 0 else {
            throw ValidationError("--messages must be from 0 to 100000, and goes with --rate 0")
        }
        guard warmup >= 0, drain >= 0 else { throw ValidationError("--warmup and --drain must not be negative") }
        guard run.seeding.seedUsers else { throw ValidationError("presence needs --seed-users") }
    }

    func run() async throws {
        try await run.run("presence", Schedule(warmup: warmup, duration: run.duration), drain: drain) {
            $0.presence = LoadPlan.Presence(users: run.users, rate: rate, friends: friends, staysAway: stayAway)
            if messages > 0 { $0.chat = LoadPlan.Chat(users: Self.writers, rate: messages, isTogether: true) }
        }
    }
}
