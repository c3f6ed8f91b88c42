import ParleyWire
import Testing

@testable import ParleyServer

/// Who may do what in a group, and which changes it takes. No I/O.
@Suite struct GroupsDecisionTests {
    private let owner = UserID("owner")!
    private let admin = UserID("admin")!
    private let ann = UserID("ann")!
    private let bob = UserID("bob")!
    private let stranger = UserID("stranger")!
    private let gone = UserID("gone")!

    private var group: Group {
        Group(
            version: 7,
            title: "Team",
            members: [
                .init(user: owner, role: .owner, joinedVersion: 1), .init(user: admin, role: .admin, joinedVersion: 3),
                .init(user: ann, role: .member, joinedVersion: 2), .init(user: bob, role: .member, joinedVersion: 1),
            ],
            former: [gone]
        )
    }

    private func changes(_ action: Group.Action, by actor: UserID, limit: Int = 100) throws -> [GroupChange] {
        var group = group
        return try group.perform(action, by: actor, limit: limit)
    }

    private func refusal(_ action: Group.Action, by actor: UserID, limit: Int = 100) -> Group.Refusal? {
        var group = group
        do {
            _ = try group.perform(action, by: actor, limit: limit)
            return nil
        } catch { return error }
    }

    private func isForbidden(_ action: Group.Action, by actor: UserID) -> Bool {
        if case .forbidden = refusal(action, by: actor) { true } else { false }
    }

    @Test func `whoever is not in it learns no more than that`() {
        let rename = Group.Action.rename(GroupTitle("New")!)
        for action in [rename, .put(ann, nil), .remove(ann)] {
            #expect(refusal(action, by: stranger) == .notFound)
            #expect(refusal(action, by: gone) == .notMember)
        }
        #expect(refusal(.remove(stranger), by: stranger) == .notFound)
    }

    @Test func `the owner and admins rename and add, members do not`() throws {
        for actor in [owner, admin] {
            #expect(
                try changes(.rename(GroupTitle(" New ")!), by: actor) == [
                    GroupChange(version: 8, actor: actor, kind: .renamed(title: "New"))
                ]
            )
            #expect(
                try changes(.put(stranger, nil), by: actor) == [
                    GroupChange(version: 8, actor: actor, kind: .added(stranger, .member))
                ]
            )
        }
        #expect(try changes(.put(gone, .admin), by: owner).map(\.kind) == [.added(gone, .admin)])
        #expect(isForbidden(.rename(GroupTitle("New")!), by: ann))
        #expect(isForbidden(.put(stranger, nil), by: ann))
        #expect(isForbidden(.put(stranger, .admin), by: admin))
        #expect(refusal(.put(stranger, .owner), by: owner) == .invalid("role: only a member can become the owner"))
        #expect(refusal(.put(stranger, nil), by: owner, limit: 4) == .full(limit: 4))
        #expect(try changes(.put(stranger, nil), by: owner, limit: 5).count == 1)
    }

    @Test func `what is as wished takes no change`() throws {
        #expect(try changes(.rename(GroupTitle("Team")!), by: owner) == [])
        #expect(try changes(.put(ann, nil), by: bob) == [])
        #expect(try changes(.put(admin, .admin), by: ann) == [])
        #expect(try changes(.put(ann, nil), by: owner, limit: 1) == [])
        #expect(try changes(.remove(gone), by: admin) == [])
        #expect(try changes(.remove(gone), by: gone) == [], "leaving again")
    }

    @Test func `roles are the owner's to give, the ownership too`() throws {
        #expect(try changes(.put(ann, .admin), by: owner).map(\.kind) == [.assigned(ann, .admin)])
        #expect(try changes(.put(admin, .member), by: owner).map(\.kind) == [.assigned(admin, .member)])
        #expect(
            try changes(.put(ann, .owner), by: owner).map(\.kind) == [.assigned(ann, .owner), .assigned(owner, .admin)]
        )
        for (user, role) in [(ann, Group.Role.admin), (owner, .member), (admin, .owner), (admin, .member)] {
            #expect(isForbidden(.put(user, role), by: admin))
        }
        guard case .invalid = refusal(.put(owner, .member), by: owner) else {
            Issue.record("an owner who is none any more")
            return
        }
    }

    @Test func `admins remove plain members, the owner everybody`() throws {
        #expect(try changes(.remove(ann), by: admin).map(\.kind) == [.removed(ann)])
        #expect(try changes(.remove(admin), by: owner).map(\.kind) == [.removed(admin)])
        #expect(isForbidden(.remove(owner), by: admin))
        #expect(isForbidden(.remove(bob), by: ann))
        #expect(refusal(.remove(stranger), by: owner) == .notFound)
        #expect(refusal(.remove(gone), by: ann) == .notFound)
    }

    @Test func `an owner who leaves is followed by whoever has been there for longest`() throws {
        var group = group
        #expect(
            try group.perform(.remove(owner), by: owner, limit: 100).map(\.kind) == [
                .assigned(admin, .owner), .removed(owner),
            ]
        )
        #expect(group.version == 9)
        #expect(try group.perform(.remove(admin), by: admin, limit: 100).first?.kind == .assigned(bob, .owner))
        #expect(try group.perform(.remove(bob), by: bob, limit: 100).first?.kind == .assigned(ann, .owner))
        #expect(try group.perform(.remove(ann), by: ann, limit: 100).map(\.kind) == [.removed(ann)])
        #expect(group.members.isEmpty)
    }

    @Test func `a title is one line of one to a hundred characters`() {
        #expect(GroupTitle("")?.text == nil)
        #expect(GroupTitle(" \n ")?.text == nil)
        #expect(GroupTitle("a\nb")?.text == nil)
        #expect(GroupTitle("a\0b")?.text == nil)
        #expect(GroupTitle(String(repeating: "é", count: 100))?.text.count == 100)
        #expect(GroupTitle(String(repeating: "é", count: 101)) == nil)
        #expect(GroupTitle("👩‍👩‍👧‍👦 Familie ")?.text == "👩‍👩‍👧‍👦 Familie")
    }

    @Test func `a snapshot knows who was in it before its changes`() {
        let changes = [
            GroupChange(version: 4, actor: owner, kind: .added(ann, .member)),
            GroupChange(version: 5, actor: owner, kind: .removed(bob)),
            GroupChange(version: 6, actor: owner, kind: .assigned(admin, .admin)),
            GroupChange(version: 7, actor: owner, kind: .added(bob, .member)),
            GroupChange(version: 8, actor: owner, kind: .removed(ann)),
        ]
        let snapshot = GroupSnapshot(
            version: 8,
            members: [owner, admin, bob].map { .init(user: $0, joined: nil) },
            changes: changes
        )
        #expect(snapshot.archivedVersion == 3)
        let expected: [Int64: Set<UserID>] = [
            3: [owner, admin, bob], 4: [owner, admin, bob, ann], 5: [owner, admin, ann], 6: [owner, admin, ann],
            7: [owner, admin, ann, bob], 8: [owner, admin, bob],
        ]
        for (version, members) in expected {
            let found = snapshot.members(at: version).map(\.user)
            #expect(Set(found) == members && found.count == members.count, "at \(version)")
        }
        // The same from the other end.
        var members = Array(expected[3]!)
        for change in changes {
            #expect(Set(change.recipients(among: members)) == Set(members).union(change.joining))
            members = change.applied(to: members)
            #expect(Set(members) == expected[change.version])
        }
        let created = GroupSnapshot(
            version: 1,
            members: [.init(user: owner, joined: nil)],
            changes: [GroupChange(version: 1, actor: owner, kind: .created(title: "T", members: [owner]))]
        )
        #expect(created.archivedVersion == 0 && created.members(at: 0) == [])
    }
}
