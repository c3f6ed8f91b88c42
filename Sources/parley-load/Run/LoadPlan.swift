/// What a run puts on the gateways. A process of several gets its share of it.
struct LoadPlan: Codable, Sendable {
    /// Conversations in which people write, each person in one.
    struct Chat: Codable, Sendable {
        /// A multiple of the members.
        var users: Int
        /// Messages a second, of all users together.
        var rate: Double
        var bodyBytes = 100
        /// Exponential gaps between sends; else equal ones.
        var isPoisson = true
        /// Of a conversation.
        var members = 2
        /// Else 1:1, with two members.
        var isGroup = false
        /// Of a user.
        var devices = 1
        /// All begin at the last gateway; else they are spread.
        var isTogether = false
    }

    /// People who come and go, in a ring in which everybody is a friend of those nearby.
    struct Presence: Codable, Sendable {
        var users: Int
        /// Changes a second, of all users together.
        var rate: Double
        /// Of each user; even, and fewer than the users.
        var friends: Int
        /// Whoever loses their connection does not come back.
        var staysAway = false

        func friends(of index: Int) -> [Int] {
            // Two ways round a small ring may lead to the same one.
            let near = (1...friends / 2).flatMap { [index + $0, index + users - $0] }
            return Array(Set(near.map { $0 % users })).filter { $0 != index }
        }
    }

    /// What the run is called in its report.
    var scenario: String
    /// Base URLs.
    var gateways: [String]
    var chat: Chat?
    var presence: Presence?
    /// Signed-in sessions that do nothing.
    var idle = 0
    /// How idle sessions, and in conversations all members but the first, get their messages, while they send none. nil
    /// for sockets, and for members who all write.
    var receive: Receive?
    /// The folder for the journals; nil for none.
    var journal: String?
    /// The URL of the PostgreSQL that users are written into; nil to sign them up.
    var seedDatabase: String?
    /// Which share of the whole this is, and of how many.
    var share = 0
    var shares = 1
    /// How many of the shares have conversations.
    var chattingShares = 1

    /// Users of this share.
    var users: Int { (chat?.users ?? 0) + (presence?.users ?? 0) + idle }
    /// Their sockets.
    var sessions: Int { (chat.map { $0.users * $0.devices } ?? 0) + (presence?.users ?? 0) + idle }

    /// The part of one of so many processes: whole conversations, and the rate that goes with them. Beside people who watch
    /// the last process has all who write: the others, busy with coming back, would make their messages late.
    func share(_ index: Int, of count: Int) -> LoadPlan {
        func part(of total: Int, in range: Range<Int>) -> Int {
            let place = index - range.lowerBound
            return range.contains(index) ? total * (place + 1) / range.count - total * place / range.count : 0
        }
        let all = 0..<count
        let isSplit = chat != nil && presence != nil && count > 1
        let (watching, writing) = isSplit ? (0..<count - 1, count - 1..<count) : (all, all)
        var plan = self
        (plan.share, plan.shares) = (index, count)
        plan.idle = part(of: idle, in: all)
        if let chat {
            let users = chat.members * part(of: chat.users / chat.members, in: writing)
            plan.chattingShares = min(writing.count, chat.users / chat.members)
            plan.chat?.users = users
            plan.chat?.rate = chat.rate * Double(users) / Double(chat.users)
            if users == 0 { plan.chat = nil }
        }
        if let presence {
            let users = part(of: presence.users, in: watching)
            plan.presence?.users = users
            plan.presence?.rate = presence.rate * Double(users) / Double(presence.users)
            if users <= presence.friends { plan.presence = nil }
        }
        return plan
    }
}
