import Logging
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// What goes on at once, and what is left undone: the interleavings that would break a group.
@Suite(.serialized) struct GroupsRaceTests {
    /// What a gateway does that is killed between PostgreSQL's commit and Redis.
    private func performAndDie(_ action: Group.Action, _ actor: Person, _ group: ConversationID, _ stack: GroupsStack)
        async throws
    {
        try await stack.gateways[1].groups.store.perform(action, by: actor.id, in: group, limit: 100)
    }

    private func version(_ group: ConversationID, _ stack: GroupsStack) async throws -> Int64? {
        try await stack.gateways[0].redis.send("HGET", Keys.conversation(group), "mv").integer
    }

    @Test func `a send before a removal reaches the removed one, a send after it does not`() async throws {
        try await GroupsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.users(3)
            let group = try await stack.group(people)
            let before = try await two.groups.settle(group)
            #expect(try await two.send("last", from: people[0].id, to: group, before).result?.seq == 1)
            #expect(try await one.remove(people[2].id, from: group, as: people[0]).status == 204)
            // The other gateway still believes in the version before: at the exact version, the other order.
            let answer = try await two.send("late", from: people[0].id, to: group, before)
            guard case .stale(2, let members) = answer else {
                Issue.record("\(answer)")
                return
            }
            #expect(Set(members) == [people[0].id, people[1].id])
            let now = Roster(group, version: 2, members: members, placement: .singleServer)
            #expect(try await two.send("late", from: people[0].id, to: group, now).result?.seq == 2)
            #expect(try await one.told(people[2].id, group) == ["= Team", "m last", "- \(people[2].id)"])
            #expect(try await one.told(people[1].id, group) == ["= Team", "m last", "- \(people[2].id)", "m late"])
            // The removed one's own sends, whatever they name: what was in force, what is, or nothing.
            for roster in [before, now, nil] {
                guard case .stale = try await two.send("mine", from: people[2].id, to: group, roster) else {
                    Issue.record("a former member sends")
                    return
                }
            }
        }
    }

    @Test func `a change is told to the members of the version before it, to no others`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(4)
            let group = try await stack.group(Array(people[..<3]))
            let roster = try await gateway.groups.settle(group)
            _ = try await gateway.remove(people[2].id, from: group, as: people[0])
            let digest = try await gateway.redis.send("DEBUG", "DIGEST").string
            // It is this change's turn, but the process that brings it has not seen the last one.
            let rename = GroupChange(version: 3, actor: people[0].id, kind: .renamed(title: "New"))
            // And one whose turn it is not: applied before, or too early.
            let again = GroupChange(version: 2, actor: people[0].id, kind: .removed(people[2].id))
            let early = GroupChange(version: 4, actor: people[0].id, kind: .added(people[3].id, .member))
            let now = try await gateway.groups.settle(group)
            for (change, roster) in [(rename, roster), (again, roster), (again, now), (early, now)] {
                guard case .roster(2, let members) = try await gateway.groups.request(change, roster, group) else {
                    Issue.record("\(change.kind) was applied")
                    return
                }
                #expect(Set(members) == [people[0].id, people[1].id])
            }
            #expect(try await gateway.redis.send("DEBUG", "DIGEST").string == digest)
            guard case .changed = try await gateway.groups.request(rename, now, group) else {
                Issue.record("not applied")
                return
            }
            #expect(try await gateway.told(people[1].id, group).last == "= New")
            #expect(try await gateway.told(people[2].id, group).last == "- \(people[2].id)")
        }
    }

    @Test func `a worker finishes what a dead gateway left, once`() async throws {
        try await GroupsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.users(4)
            let group = try await stack.group(Array(people[..<3]))
            try await performAndDie(.remove(people[2].id), people[0], group, stack)
            try await performAndDie(.put(people[3].id, nil), people[0], group, stack)
            #expect(try await version(group, stack) == 1)
            // Members write on meanwhile, by the version in force.
            #expect(
                try await one.send("on", from: people[1].id, to: group, roster(people[..<3], 1, group)).result != nil
            )
            let sweeper = GroupSweeper(outbox: two.groups, logger: Logger(label: "test"), age: 0)
            // Nothing is younger than its age.
            let isOld = try await eventually { try await !two.groups.store.groupsWithChanges(olderThan: 0).isEmpty }
            #expect(isOld)
            for _ in 0..<3 { try await sweeper.sweep() }
            #expect(try await version(group, stack) == 3)
            let tail = ["- \(people[2].id)", "+ \(people[3].id) member"]
            #expect(try await one.told(people[1].id, group) == ["= Team", "m on"] + tail)
            #expect(try await one.told(people[2].id, group) == ["= Team", "m on", tail[0]])
            #expect(try await one.told(people[3].id, group) == [tail[1]])
            #expect(try await stack.pendingChanges() == 3, "the rows wait for their entries' archiving")
            try await stack.archive()
            #expect(try await stack.pendingChanges() == 0)
            #expect(try await one.history(group, as: people[1]).map(\.told) == ["= Team", "m on"] + tail)
        }
    }

    private func roster(_ people: some Collection<Person>, _ version: Int64, _ group: ConversationID) -> Roster {
        Roster(group, version: version, members: people.map(\.id), placement: .singleServer)
    }

    @Test func `a repeated request finishes what the first one left`() async throws {
        try await GroupsStack.with { stack in
            let people = try await stack.users(2)
            let group = try await stack.group(people)
            try await performAndDie(.remove(people[1].id), people[0], group, stack)
            #expect(try await version(group, stack) == 1)
            #expect(try await stack.gateways[0].remove(people[1].id, from: group, as: people[0]).status == 204)
            #expect(try await version(group, stack) == 2, "no answer before Redis has it")
        }
    }

    @Test func `all who finish at once apply each change once`() async throws {
        try await GroupsStack.with { stack in
            let people = try await stack.users(12)
            let group = try await stack.group(Array(people[..<2]))
            for person in people[2...] {
                try await performAndDie(.put(person.id, nil), people[0], group, stack)
            }
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for number in 0..<8 {
                    tasks.addTask { try await stack.gateways[number % 2].groups.settle(group) }
                }
                for number in 0..<20 {
                    tasks.addTask {
                        try await stack.gateways[number % 2].commit("\(number)", from: people[1].id, to: group)
                    }
                }
                try await tasks.waitForAll()
            }
            let told = try await stack.gateways[0].told(people[1].id, group)
            #expect(told.filter { $0.hasPrefix("+") } == people[2...].map { "+ \($0.id) member" })
            #expect(told.count == 31)
            for (index, person) in people.enumerated() where index >= 2 {
                let start = try #require(told.firstIndex(of: "+ \(person.id) member"))
                #expect(try await stack.gateways[0].told(person.id, group) == Array(told[start...]))
            }
        }
    }

    @Test func `of two who are added at once at the limit one comes in`() async throws {
        try await GroupsStack.with(GroupConfiguration(memberLimit: 5)) { stack in
            let people = try await stack.users(10)
            let group = try await stack.group(Array(people[..<4]))
            let answers = try await withThrowingTaskGroup(of: TestAPI.Answer.self) { tasks in
                for (index, person) in people[4...].enumerated() {
                    tasks.addTask { try await stack.gateways[index % 2].put(person.id, in: group, as: people[0]) }
                }
                return try await tasks.reduce(into: []) { $0.append($1) }
            }
            #expect(answers.filter { $0.status == 200 }.count == 1)
            #expect(answers.filter { $0.problem == .tooLarge }.count == 5)
            let members = try await stack.gateways[0].get(group, as: people[0]).decode(ConversationAnswer.self).members
            #expect(members.count == 5)
            #expect(try await stack.gateways[0].groups.settle(group).members.count == 5)
        }
    }

    private func comeAndGo(
        _ user: UserID,
        _ group: ConversationID,
        _ owner: Person,
        _ title: String,
        _ gateway: GroupsGateway
    ) async throws {
        #expect(try await gateway.put(user, in: group, as: owner).status == 200)
        #expect(try await gateway.rename(group, title, as: owner).status == 200)
        #expect(try await gateway.remove(user, from: group, as: owner).status == 204)
    }

    @Test func `concurrent changes and sends from two gateways are one order for all`() async throws {
        try await GroupsStack.with { stack in
            let people = try await stack.users(8)
            let group = try await stack.group(Array(people[..<4]))
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for number in 0..<2 {
                    let gateway = stack.gateways[number]
                    tasks.addTask {
                        for turn in 0..<10 {
                            let person = people[4 + (2 * turn + number) % 4]
                            try await comeAndGo(person.id, group, people[0], "T\(number).\(turn)", gateway)
                        }
                    }
                    tasks.addTask {
                        for turn in 0..<40 {
                            var roster: Roster? = nil
                            // As a session does: whoever is refused takes the membership that the answer tells.
                            while case .stale(let version, let members) = try await gateway.send(
                                "\(number).\(turn)",
                                from: people[1 + number].id,
                                to: group,
                                roster
                            ) { roster = Roster(group, version: version, members: members, placement: .singleServer) }
                        }
                    }
                }
                try await tasks.waitForAll()
            }
            let gateway = stack.gateways[0]
            let all = try await gateway.told(people[1].id, group)
            #expect(all.filter { $0.hasPrefix("m") }.count == 80)
            #expect(try await gateway.history(group, as: people[2]).map(\.told) == all)
            for person in people[4...] {
                // In it between each of its additions and removals, and at no other time.
                var (expected, isMember): ([String], Bool) = ([], false)
                for entry in all {
                    if entry == "+ \(person.id) member" { isMember = true }
                    if isMember { expected.append(entry) }
                    if entry == "- \(person.id)" { isMember = false }
                }
                #expect(try await gateway.told(person.id, group) == expected)
            }
        }
    }

    @Test func `Redis restarts between PostgreSQL's commit and its own`() async throws {
        try await GroupsStack.with { stack in
            let people = try await stack.users(3)
            let group = try await stack.group(people)
            try await stack.gateways[0].commit("1", from: people[0].id, to: group)
            try await performAndDie(.remove(people[2].id), people[0], group, stack)
            try await stack.redis.kill9()
            try await stack.redis.restart()
            #expect(try await eventually { (try? await stack.gateways[0].groups.settle(group)) != nil })
            #expect(try await version(group, stack) == 2)
            #expect(try await stack.gateways[0].told(people[2].id, group) == ["= Team", "m 1", "- \(people[2].id)"])
        }
    }

    @Test func `a seed from an old snapshot does not undo a newer change`() async throws {
        try await GroupsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.users(3)
            let group = try await stack.group(people)
            let keys = [Keys.conversation(group), Keys.epoch, Keys.members(group)]
            func seed(_ version: Int, _ members: [Person]) async throws -> String? {
                try await two.redis.send(
                    RedisFunctions.call(
                        "seed_group",
                        keys: keys,
                        [one.epochs.epoch, "\(version)", "0", "0"] + members.flatMap { [$0.id.description, "0 1"] }
                    )
                ).string
            }
            #expect(try await one.remove(people[2].id, from: group, as: people[0]).status == 204)
            let stale = try await seed(1, people)
            #expect(stale?.hasPrefix("seeded 0 2 ") == true && stale?.contains(people[2].id.description) == false)

            // The same when the members are gone and the version is not, and in a later epoch.
            _ = try await one.redis.send("DEL", Keys.members(group))
            #expect(try await seed(1, people) == "older 2")
            #expect(try await seed(2, Array(people[..<2]))?.hasPrefix("seeded 0 2 ") == true)
            _ = try await one.redis.send("HSET", Keys.conversation(group), "epoch", "earlier")
            #expect(try await seed(1, people)?.contains(people[2].id.description) == false)
            #expect(try await version(group, stack) == 2)
        }
    }

    @Test func `members that Redis lost are seeded as of the version in force`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(4)
            let group = try await stack.group(Array(people[..<3]))
            _ = try await gateway.remove(people[2].id, from: group, as: people[0])
            try await performAndDie(.put(people[3].id, nil), people[0], group, stack)
            _ = try await gateway.redis.send("DEL", Keys.members(group))
            let roster = try await gateway.groups.settle(group)
            #expect(roster.version == 3 && Set(roster.members) == Set([people[0], people[1], people[3]].map(\.id)))
            #expect(try await gateway.told(people[3].id, group) == ["+ \(people[3].id) member"])
        }
    }

    @Test func `groups go on after a loss of everything in Redis`() async throws {
        try await GroupsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.users(4)
            let group = try await stack.group(Array(people[..<3]))
            try await one.commit("archived", from: people[0].id, to: group)
            try await stack.archive()
            // The change is answered; its entry is lost before it is archived.
            #expect(try await one.put(people[3].id, in: group, as: people[0]).status == 200)
            _ = try await one.redis.send("FLUSHALL")
            for gateway in [one, two] {
                gateway.redis.resetAll()
                #expect(try await eventually { (try? await gateway.groups.settle(group)) != nil })
            }
            #expect(one.epochs.epoch == two.epochs.epoch)
            let roster = try await two.groups.settle(group)
            #expect(roster.version == 2 && Set(roster.members) == Set(people.map(\.id)))
            #expect(
                try await one.told(people[3].id, group) == ["+ \(people[3].id) member"],
                "told again in the new epoch"
            )
            let seq = try await two.commit("after", from: people[3].id, to: group).seq
            #expect(seq == 1 + 1024 + 1)
            for isArchived in [false, true] {
                if isArchived { try await stack.archive() }
                #expect(
                    try await one.history(group, as: people[0]).map(\.told) == [
                        "= Team", "m archived", "+ \(people[3].id) member", "m after",
                    ]
                )
                #expect(
                    try await one.history(group, as: people[3]).map(\.told) == ["+ \(people[3].id) member", "m after"]
                )
                let view = try await one.get(group, as: people[1]).decode(ConversationAnswer.self)
                #expect(view.unread == 2, "what the jump left out is nobody's unread")
            }
        }
    }
}
