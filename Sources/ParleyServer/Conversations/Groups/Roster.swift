import ParleyCore
import ParleyWire
import RedisClient

/// Who gets a group's messages, as of one version of its membership. A gateway keeps it, so that a send looks nothing
/// up; the commit refuses a version that is not in force and says which is.
struct Roster: Sendable {
    let version: Int64
    let members: [UserID]
    let addressees: Addressees

    init(_ group: ConversationID, version: Int64, members: [UserID], placement: RedisPlacement) {
        self.version = version
        self.members = members
        addressees = Addressees(members, of: group, placement)
    }

    func contains(_ user: UserID) -> Bool { members.contains(user) }

    /// Recipients of one event as a function call names them, encoded once for many messages.
    struct Addressees: Sendable {
        /// Recipients that one call delivers to, at most: 128 of them hold Redis for about a millisecond.
        static let chunk = 128

        /// The queues of those that the commit itself delivers to, then the group's own keys.
        let keys: RedisCommand.Fragment
        /// How many those are, their ids, the chunks of the other co-located ones, the ids of those on other servers.
        let names: RedisCommand.Fragment

        init(_ users: [UserID], of group: ConversationID, _ placement: RedisPlacement) {
            let lane = Lane(of: group).description
            var (colocated, others): ([UserID], [UserID]) = ([], [])
            for user in users {
                if placement.areColocated(lane, UserShard(of: user).description) {
                    colocated.append(user)
                } else {
                    others.append(user)
                }
            }
            let first = colocated.prefix(Self.chunk)
            let chunks = stride(from: Self.chunk, to: colocated.count, by: Self.chunk).map { start in
                "+"
                    + colocated[start..<min(start + Self.chunk, colocated.count)].map(\.description)
                    .joined(separator: ",")
            }
            keys = RedisCommand.Fragment(
                first.map(Keys.queue) + [Keys.members(group), Keys.chunks(group), Keys.owed(group)]
            )
            names = RedisCommand.Fragment(
                [String(first.count)] + first.map(\.description) + chunks + others.map(\.description)
            )
        }
    }
}
