import NIOCore
import ParleyWire

/// One change of a group: a version of its membership, a row of the outbox, an entry of its history and an event.
struct GroupChange: Sendable, Hashable {
    enum Kind: Sendable, Hashable {
        case created(title: String, members: [UserID])
        case renamed(title: String)
        case added(UserID, Group.Role)
        /// A member has another role; the event is that of a new member.
        case assigned(UserID, Group.Role)
        case removed(UserID)
    }

    /// The version that it makes, which names it within its group.
    let version: Int64
    let actor: UserID
    let kind: Kind

    var joining: [UserID] {
        switch kind {
        case .created(_, let members): members
        case .added(let user, _): [user]
        case .renamed, .assigned, .removed: []
        }
    }

    var leaving: [UserID] { if case .removed(let user) = kind { [user] } else { [] } }

    /// Who hears of it: the members before, and those who join.
    func recipients(among members: [UserID]) -> [UserID] { members + joining }

    /// The members after it.
    func applied(to members: [UserID]) -> [UserID] { (members + joining).filter { !leaving.contains($0) } }

    /// The event's members without braces, `seq`, `mid` and `ts`, which the commit adds.
    func eventMembers(of group: ConversationID) -> ByteBuffer {
        var buffer = ByteBuffer()
        let type: EventType =
            switch kind {
            case .created, .renamed: .conversation
            case .added, .assigned: .memberAdded
            case .removed: .memberRemoved
            }
        buffer.writeJSONField("type", type.rawValue)
        buffer.writeJSONField("conv", group)
        buffer.writeJSONField("from", actor)
        switch kind {
        case .created(let title, _), .renamed(let title): buffer.writeJSONField("title", title)
        case .added(let user, let role), .assigned(let user, let role):
            buffer.writeJSONField("user", user)
            buffer.writeJSONField("role", role.rawValue)
        case .removed(let user): buffer.writeJSONField("user", user)
        }
        buffer.writeJSONField("version", version)
        return buffer
    }
}

/// A group's members as PostgreSQL has them, with the changes that history does not hold yet. Redis may lack these, so
/// a seed begins before them and they are applied after it.
struct GroupSnapshot: Sendable {
    struct Member: Sendable, Hashable {
        let user: UserID
        /// Where history has the entry of their joining; nil while it does not.
        let joined: Joined?
    }

    /// Where in its group somebody joined.
    struct Joined: Sendable, Hashable {
        let seq: Int64
        let mid: MessageID

        init(seq: Int64, mid: MessageID) {
            self.seq = seq
            self.mid = mid
        }

        /// As PostgreSQL has it; nil while the entry is not archived.
        init?(seq: Int64?, mid: Int64?) {
            guard let seq, let mid = mid.flatMap({ MessageID(rawValue: UInt64($0)) }) else { return nil }
            self.init(seq: seq, mid: mid)
        }
    }

    let version: Int64
    let members: [Member]
    /// In order of their versions, without gaps, the last at `version`.
    let changes: [GroupChange]

    /// The last version whose entry is in history.
    var archivedVersion: Int64 { changes.first.map { $0.version - 1 } ?? version }

    /// The members at an earlier version that is not before `archivedVersion`.
    func members(at version: Int64) -> [Member] {
        var result = members
        for change in changes.reversed() where change.version > version {
            result.removeAll { change.joining.contains($0.user) }
            result += change.leaving.map { Member(user: $0, joined: nil) }
        }
        return result
    }
}
