import HTTPTypes
import NIOCore
import ParleyCore
import ParleyWire
import PostgresClient
import RedisClient
import TestSupport
import Testing

@testable import ParleyServer

/// Groups over HTTP: what they answer, and what everybody is told.
@Suite(.serialized) struct GroupsRouteTests {
    @Test func `a group is created once under its key`() async throws {
        try await GroupsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let people = try await stack.users(3)
            let members = people[1...].map(\.id)
            let first = try await one.create(people[0], " Team ", members, key: "k-1")
            #expect(first.status == 201)
            let group = try first.decode(ConversationAnswer.self)
            #expect(group.id.hasPrefix("g:") && group.kind == "group" && group.title == "Team" && group.version == 1)
            #expect(group.owner == people[0].id && group.admins == [] && Set(group.members) == Set(people.map(\.id)))
            #expect(group.last == nil && group.unread == 0)

            let again = try await two.create(people[0], "Team", members.reversed() + [people[0].id], key: "k-1")
            #expect(again.status == 200)
            #expect(try again.decode(ConversationAnswer.self).id == group.id)
            #expect(try await two.create(people[0], "Other", members, key: "k-1").problem == .conflict)
            #expect(try await two.create(people[0], "Team", [], key: "k-1").problem == .conflict)
            // Another's key of the same text is another key.
            let other = try await two.create(people[1], "Team", [people[0].id, people[2].id], key: "k-1")
            #expect(other.status == 201)
            #expect(try other.decode(ConversationAnswer.self).id != group.id)

            let id = try #require(ConversationID(group.id))
            for person in people { #expect(try await one.told(person.id, id) == ["= Team"]) }
        }
    }

    @Test func `creations at once under one key make one group`() async throws {
        try await GroupsStack.with { stack in
            let people = try await stack.users(2)
            let answers = try await withThrowingTaskGroup(of: TestAPI.Answer.self) { tasks in
                for number in 0..<8 {
                    tasks.addTask {
                        try await stack.gateways[number % 2].create(people[0], "Team", [people[1].id], key: "one")
                    }
                }
                return try await tasks.reduce(into: []) { $0.append($1) }
            }
            #expect(answers.map(\.status).sorted() == [200, 200, 200, 200, 200, 200, 200, 201])
            let ids = Set(try answers.map { try $0.decode(ConversationAnswer.self).id })
            let group = try #require(ids.first.flatMap { ConversationID($0) })
            #expect(ids.count == 1)
            #expect(try await stack.gateways[0].told(people[1].id, group) == ["= Team"])
        }
    }

    @Test func `who deletes their account leaves all groups`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(3)
            let own = try await stack.group(people)
            let others = try await stack.group(people.reversed())
            let left = try await stack.group(people)
            _ = try await gateway.remove(people[0].id, from: left, as: people[0])
            _ = try await stack.pool.query("DELETE FROM users WHERE id = \(people[0].id.description)")
            // Twice, as a deletion does it, and not heard of twice.
            for _ in 0..<2 { try await GroupFarewell(outbox: gateway.groups).userIsGone(people[0].id) }
            for group in [own, others, left] {
                let shown = try await gateway.get(group, as: people[1]).decode(ConversationAnswer.self)
                #expect(Set(shown.members) == Set(people[1...].map(\.id)))
                #expect(try #require(shown.owner) != people[0].id)
                let told = try await gateway.told(people[1].id, group)
                #expect(told.filter { $0.hasPrefix("-") }.count == 1, "\(told)")
                #expect(try await gateway.groups.settle(group).members.contains(people[0].id) == false)
            }
        }
    }

    @Test func `bad creations have their codes`() async throws {
        try await GroupsStack.with(GroupConfiguration(memberLimit: 3)) { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(4)
            let members = people[1...].map(\.id)
            #expect(try await gateway.create(people[0], "Team", members).problem == .tooLarge)
            #expect(try await gateway.create(people[0], "", []).problem == .invalid)
            #expect(try await gateway.create(people[0], String(repeating: "x", count: 101), []).problem == .invalid)
            #expect(try await gateway.create(people[0], "Team", [.random()]).problem == .notFound)
            #expect(try await gateway.create(people[0], "Team", [], key: "").problem == .invalid)
            #expect(try await gateway.create(people[0], "Team", [], key: "a b").problem == .invalid)
            let path = "/v1/conversations"
            for (body, code) in [
                (#"{"title":"T"}"#, ErrorCode.invalid), (#"{"title":"T","members":["NOT AN ID"]}"#, .invalid),
                (#"{"title":7,"members":[]}"#, .invalid), ("{", .badFrame),
                (#"{"title":"\#(String(repeating: "x", count: 70_000))","members":[]}"#, .tooLarge),
            ] {
                #expect(try await gateway.call(.post, path, as: people[0], body, key: "k").problem == code)
            }
            // Nothing is left of any of these, not even of their keys.
            let counts: [Int64] = try await stack.pool.query("SELECT count(*) FROM conversations").decode(Int64.self)
            #expect(counts == [0])
            let alone = try await gateway.create(people[0], "T", [people[0].id, people[0].id], key: "k")
            #expect(alone.status == 201)
            #expect(try alone.decode(ConversationAnswer.self).members == [people[0].id], "a group of one")
        }
    }

    @Test func `every change is told in one order to those before and after it`() async throws {
        try await GroupsStack.with { stack in
            let (one, two) = (stack.gateways[0], stack.gateways[1])
            let (ann, bob, cat, dan) = (
                try await stack.user("ann"), try await stack.user("bob"), try await stack.user("cat"),
                try await stack.user("dan")
            )
            let group = try await stack.group([ann, bob, cat])
            #expect(try await one.commit("1", from: ann.id, to: group).seq == 1)
            #expect(try await two.put(dan.id, in: group, as: ann).status == 200)
            #expect(try await two.commit("2", from: dan.id, to: group).seq == 2, "only messages take a seq")
            #expect(try await one.rename(group, "Crew", as: ann).decode(ConversationAnswer.self).title == "Crew")
            #expect(try await two.put(bob.id, in: group, as: ann, role: "admin").status == 200)
            #expect(try await one.remove(cat.id, from: group, as: bob).status == 204)
            #expect(try await one.commit("3", from: bob.id, to: group).seq == 3)
            #expect(try await two.remove(ann.id, from: group, as: ann).status == 204, "the owner leaves")

            let all = [
                "= Team", "m 1", "+ \(dan.id) member", "m 2", "= Crew", "+ \(bob.id) admin", "- \(cat.id)", "m 3",
                "+ \(bob.id) owner", "- \(ann.id)",
            ]
            #expect(try await one.told(ann.id, group) == all)
            #expect(try await one.told(bob.id, group) == all)
            #expect(try await one.told(cat.id, group) == Array(all[..<7]), "the removed one hears of it, and no more")
            #expect(try await one.told(dan.id, group) == Array(all[2...]), "a new one hears of it, and what follows")

            for _ in 0..<2 {
                // From the commit log, then from the archive.
                #expect(try await one.history(group, as: bob).map(\.told) == all)
                let entries = try await two.history(group, as: dan)
                #expect(entries.map(\.told) == Array(all[2...]), "history begins at joining")
                let queued = try await two.queue(dan.id)
                #expect(
                    entries.compactMap(\.mid) == queued.compactMap(\.mid)
                        && entries.map(\.seq) == queued.compactMap(\.seq)
                )
                #expect(entries.map(\.seq) == [1, 2, 2, 2, 2, 3, 3, 3])
                #expect(entries.compactMap(\.version) == [2, 3, 4, 5, 6, 7])
                #expect(entries.map(\.ts) == entries.compactMap(\.mid?.unixMilliseconds))
                try await stack.archive()
                #expect(try await stack.pendingChanges() == 0)
            }
            let last = try await one.get(group, as: bob).decode(ConversationAnswer.self)
            #expect(last.owner == bob.id && last.members == [bob.id, dan.id] && last.version == 7)
            #expect(last.last?.body == "3" && last.unread == 0, "sending reads up to itself")
        }
    }

    @Test func `former members and strangers are told apart, and neither learns anything`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(3)
            let (owner, former, stranger) = (people[0], people[1], people[2])
            let group = try await stack.group([owner, former])
            #expect(try await gateway.remove(former.id, from: group, as: owner).status == 204)
            for (person, code) in [(former, ErrorCode.notMember), (stranger, .notFound)] {
                #expect(try await gateway.get(group, as: person).problem == code)
                let history = "/v1/conversations/\(group)/messages"
                #expect(try await gateway.call(.get, history, as: person).problem == code)
                #expect(try await gateway.rename(group, "Mine", as: person).problem == code)
                #expect(try await gateway.put(person.id, in: group, as: person).problem == code)
                #expect(try await gateway.remove(owner.id, from: group, as: person).problem == code)
                await #expect(throws: code == .notMember ? ConversationStore.Refusal.notMember : .notFound) {
                    try await gateway.conversations.prepareGroup(group, for: person.id)
                }
                #expect(try await gateway.call(.get, "/v1/conversations", as: person).text.contains("g:") == false)
            }
            // A lost answer to leaving is asked for again.
            #expect(try await gateway.remove(former.id, from: group, as: former).status == 204)
            #expect(try await gateway.remove(former.id, from: group, as: owner).status == 204)
            #expect(try await gateway.remove(stranger.id, from: group, as: owner).problem == .notFound)
            #expect(try await gateway.put(stranger.id, in: group, as: owner, role: "admin").status == 200)
            #expect(try await gateway.remove(owner.id, from: group, as: stranger).problem == .forbidden)
            #expect(try await gateway.put(.random(), in: group, as: owner).problem == .notFound)
            #expect(try await gateway.put(former.id, in: group, as: owner, role: "king").problem == .invalid)
            let direct = ConversationID.direct(owner.id, former.id)
            #expect(try await gateway.put(stranger.id, in: direct, as: owner).problem == .forbidden)
            #expect(try await gateway.get(.group("nosuchgroup")!, as: owner).problem == .notFound)
        }
    }

    @Test func `who comes back sees what follows their return`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(2)
            let group = try await stack.group(people)
            for isArchived in [false, true] {
                try await gateway.commit("before", from: people[0].id, to: group)
                _ = try await gateway.remove(people[1].id, from: group, as: people[0])
                try await gateway.commit("away", from: people[0].id, to: group)
                if isArchived { try await stack.archive() }
                _ = try await gateway.put(people[1].id, in: group, as: people[0])
                try await gateway.commit("back", from: people[0].id, to: group)
                let seen = try await gateway.history(group, as: people[1]).map(\.told)
                #expect(seen == ["+ \(people[1].id) member", "m back"])
                let summary = try await gateway.get(group, as: people[1]).decode(ConversationAnswer.self)
                #expect(summary.unread == 1 && summary.last?.body == "back")
            }
        }
    }

    @Test func `all of history is for new members where it is so configured`() async throws {
        try await GroupsStack.with(GroupConfiguration(history: .all)) { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(2)
            let group = try await stack.group([people[0]])
            try await gateway.commit("early", from: people[0].id, to: group)
            _ = try await gateway.put(people[1].id, in: group, as: people[0])
            #expect(
                try await gateway.history(group, as: people[1]).map(\.told) == [
                    "= Team", "m early", "+ \(people[1].id) member",
                ]
            )
            #expect(try await gateway.get(group, as: people[1]).decode(ConversationAnswer.self).unread == 0)
        }
    }

    @Test func `the list has groups with and without messages, the newest first`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[1]
            let people = try await stack.users(2)
            var groups: [String] = []
            for number in 0..<4 {
                groups.append(try await stack.group(people, title: "Team \(number)").description)
            }
            try await gateway.commit("hello", from: people[0].id, to: try #require(ConversationID(groups[1])))
            for isArchived in [false, true] {
                if isArchived { try await stack.archive() }
                var (found, cursor): ([ConversationAnswer], String?) = ([], nil)
                repeat {
                    let page = try await gateway.list(as: people[1], limit: 3, before: cursor)
                    found += page.conversations
                    cursor = page.next
                } while cursor != nil
                #expect(found.map(\.id) == [groups[1], groups[3], groups[2], groups[0]])
                #expect(found.map(\.unread) == [1, 0, 0, 0])
                #expect(found.map { $0.last?.body } == ["hello", nil, nil, nil])
                #expect(found.allSatisfy { Set($0.members) == Set(people.map(\.id)) })
            }
        }
    }

    @Test func `history by sequence numbers has the changes between, and comes on`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(2)
            let group = try await stack.group(people)
            for number in 1...3 {
                try await gateway.commit("\(number)", from: people[0].id, to: group)
                for turn in 0..<3 { _ = try await gateway.rename(group, "Team \(number).\(turn)", as: people[0]) }
            }
            let all = try await gateway.history(group, as: people[1])
            #expect(all.count == 13)
            for isArchived in [false, true] {
                if isArchived { try await stack.archive() }
                for limit in [1, 2, 4, 8, 200] {
                    var (found, seq, more): ([EntryAnswer], Int64, Bool) = ([], 0, true)
                    while more, found.count < 100 {
                        let path = "/v1/conversations/\(group)/messages?after_seq=\(seq)&limit=\(limit)"
                        let page = try await gateway.call(.get, path, as: people[1]).decode(HistoryAnswer.self)
                        found += page.messages
                        seq = page.messages.last?.seq ?? seq
                        more = page.more
                    }
                    #expect(!more && found.compactMap(\.body) == ["1", "2", "3"], "limit \(limit)")
                    if limit >= 8 { #expect(Set(found.map(\.mid)) == Set(all.map(\.mid)), "limit \(limit)") }
                }
            }
        }
    }
}
