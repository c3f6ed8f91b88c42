import ParleyWire

/// A group's members and title at one version, and what may become of them: who may do what, and which changes it takes.
///
/// The owner may do everything. Admins rename, add members and remove plain members. Anybody may leave; when the owner
/// does, the ownership passes to the admin, else to the member, who has been in the group for longest. There is one
/// owner as long as there is anybody.
struct Group: Sendable {
    enum Role: String, Sendable, CaseIterable {
        case owner, admin, member
    }

    struct Member: Sendable, Hashable {
        let user: UserID
        var role: Role
        /// The version that their joining made.
        let joinedVersion: Int64
    }

    enum Action: Sendable, Hashable {
        case rename(GroupTitle)
        /// Adds a user, or gives a member another role. Without one a new user becomes a plain member.
        case put(UserID, Role?)
        case remove(UserID)
    }

    enum Refusal: Error, Hashable {
        /// No such group for who asks, or no such member.
        case notFound
        /// Who asks was a member once.
        case notMember
        case forbidden(String)
        case invalid(String)
        /// The group has as many members as it may.
        case full(limit: Int)
    }

    private(set) var version: Int64
    private(set) var title: String
    private(set) var members: [UserID: Member]
    /// Those who were members once, as far as the question needs them.
    let former: Set<UserID>

    init(version: Int64, title: String, members: [Member], former: Set<UserID> = []) {
        self.version = version
        self.title = title
        self.members = Dictionary(uniqueKeysWithValues: members.map { ($0.user, $0) })
        self.former = former
    }

    /// The changes that an action takes, in order and made already; none where everything is as wished.
    mutating func perform(_ action: Action, by actor: UserID, limit: Int) throws(Refusal) -> [GroupChange] {
        guard let me = members[actor] else {
            // Who left asks to leave once more: the answer to the first time was lost.
            if case .remove(actor) = action, former.contains(actor) { return [] }
            throw former.contains(actor) ? .notMember : .notFound
        }
        switch action {
        case .rename(let title):
            guard me.role != .member else { throw .forbidden("only the owner and admins rename a group") }
            return title.text == self.title ? [] : [change(.renamed(title: title.text), by: actor)]
        case .put(let user, let role): return try put(user, role, by: me, limit: limit)
        case .remove(let user): return try remove(user, by: me)
        }
    }

    private mutating func put(_ user: UserID, _ role: Role?, by me: Member, limit: Int) throws(Refusal) -> [GroupChange]
    {
        guard let target = members[user] else {
            guard me.role != .member else { throw .forbidden("only the owner and admins add members") }
            guard role ?? .member == .member || me.role == .owner else {
                throw .forbidden("only the owner makes admins")
            }
            guard role != .owner else { throw .invalid("role: only a member can become the owner") }
            guard members.count < limit else { throw .full(limit: limit) }
            return [change(.added(user, role ?? .member), by: me.user)]
        }
        guard let role, role != target.role else { return [] }
        guard me.role == .owner else { throw .forbidden("only the owner changes roles") }
        guard user != me.user else { throw .invalid("role: make another member the owner instead") }
        let changed = change(.assigned(user, role), by: me.user)
        return role == .owner ? [changed, change(.assigned(me.user, .admin), by: me.user)] : [changed]
    }

    private mutating func remove(_ user: UserID, by me: Member) throws(Refusal) -> [GroupChange] {
        guard let target = members[user] else {
            guard me.role != .member, former.contains(user) else { throw .notFound }
            return []
        }
        switch me.role {
        case _ where user == me.user: break
        case .owner: break
        case .admin where target.role == .member: break
        case .admin: throw .forbidden("admins remove plain members only")
        case .member: throw .forbidden("only the owner and admins remove others")
        }
        var changes: [GroupChange] = []
        if target.role == .owner, let heir { changes.append(change(.assigned(heir, .owner), by: me.user)) }
        changes.append(change(.removed(user), by: me.user))
        return changes
    }

    /// Who owns the group after its owner.
    private var heir: UserID? {
        let others = members.values.filter { $0.role != .owner }
        let admins = others.filter { $0.role == .admin }
        return (admins.isEmpty ? others : admins).min { ($0.joinedVersion, $0.user) < ($1.joinedVersion, $1.user) }?
            .user
    }

    private mutating func change(_ kind: GroupChange.Kind, by actor: UserID) -> GroupChange {
        version += 1
        switch kind {
        case .created: preconditionFailure("a group is created once")
        case .renamed(let title): self.title = title
        case .added(let user, let role): members[user] = Member(user: user, role: role, joinedVersion: version)
        case .assigned(let user, let role): members[user]?.role = role
        case .removed(let user): members[user] = nil
        }
        return GroupChange(version: version, actor: actor, kind: kind)
    }
}

/// A group's title: 1–100 characters after trimming blanks, on one line.
struct GroupTitle: Sendable, Hashable {
    let text: String

    init?(_ given: String) {
        guard let text = DisplayName.line(given, upTo: 100, bytes: 1000) else { return nil }
        self.text = text
    }
}
