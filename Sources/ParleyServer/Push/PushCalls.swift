import ParleyCore
import ParleyWire
import RedisClient

extension Keys {
    /// What is to be pushed.
    static let push = "push"
    static let pushUsers = "push:users"
    static let pushRetries = "push:retries"
    static let pushDead = "push:dead"
    /// Conversations that may have something unread, of users with registered devices.
    static func unread(_ user: UserID) -> String { "unread:{\(UserShard(of: user))}:\(user)" }
    /// What was sent of messages of one minute.
    static func pushed(milliseconds: Int64) -> String { "push:sent:\(milliseconds / 60_000)" }
}

enum PushCalls {
    /// Of the stream.
    static let group = "push"

    /// Users who have registered a device, or have none any more.
    static func enrol(_ users: some Collection<String>, _ isRegistered: Bool) -> RedisCommand {
        RedisFunctions.call("push_enrol", keys: [Keys.pushUsers, Keys.epoch], [isRegistered ? "1" : "0"] + users)
    }

    static func look(_ questions: some Collection<(entry: PushEntry, names: [String])>) -> RedisCommand {
        RedisFunctions.call(
            "push_look",
            keys: questions.flatMap { entry, _ in
                [
                    Keys.user(entry.user), Keys.unread(entry.user), Keys.conversation(entry.conversation),
                    Keys.pushed(milliseconds: entry.milliseconds),
                ]
            },
            questions.flatMap { entry, names in [entry.user.description, String(names.count)] + names },
            readOnly: true
        )
    }

    static func settle(_ steps: [String]) -> RedisCommand {
        RedisFunctions.call("push_settle", keys: [Keys.push, Keys.pushRetries, Keys.pushDead], steps)
    }

    static func due(limit: Int) -> RedisCommand {
        RedisFunctions.call("push_due", keys: [Keys.push, Keys.pushRetries], [String(limit)])
    }

    static func replay(_ ids: some Collection<String>) -> RedisCommand {
        RedisFunctions.call("push_replay", keys: [Keys.push, Keys.pushDead], Array(ids))
    }
}

/// How it stands with an entry just before it is sent; see `push_look`.
struct PushStanding: Sendable, Hashable {
    let epoch: String
    /// The furthest position that a device of the user handled in that epoch.
    let handled: Int64
    /// In the entry's conversation.
    let read: Int64
    /// Unread messages of all conversations.
    let badge: Int
    /// Of each registration asked about.
    let wasSent: [Bool]

    init?(_ reply: RESPValue) {
        let words = reply.string?.split(separator: " ", omittingEmptySubsequences: false) ?? []
        guard words.count == 5, let handled = Int64(words[1]), let read = Int64(words[2]), let badge = Int(words[3])
        else {
            return nil
        }
        epoch = String(words[0])
        (self.handled, self.read, self.badge) = (handled, read, badge)
        wasSent = words[4].map { $0 == "1" }
    }
}
