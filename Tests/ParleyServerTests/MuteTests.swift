import HTTPTypes
import ParleyWire
import PostgresClient
import TestSupport
import Testing

@testable import ParleyServer

/// Muting conversations.
@Suite(.serialized) struct MuteTests {
    private func mute(_ conversation: ConversationID, as person: Person, _ body: String = "", at gateway: GroupsGateway)
        async throws -> TestAPI.Answer
    {
        try await gateway.call(.put, "/v1/conversations/\(conversation)/mute", as: person, body)
    }

    private func unmute(_ conversation: ConversationID, as person: Person, at gateway: GroupsGateway) async throws
        -> TestAPI.Answer
    {
        try await gateway.call(.delete, "/v1/conversations/\(conversation)/mute", as: person)
    }

    @Test func `a mute is the user's own, and told to their devices`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[0]
            let people = try await stack.users(2)
            let group = try await stack.group(people)
            let talk = ConversationID.direct(people[0].id, people[1].id)
            try await gateway.commit("hello", from: people[0].id, to: talk)
            let until = WallClock.milliseconds() + 3_600_000
            for conversation in [group, talk] {
                let before = try await gateway.queue(people[0].id).count
                #expect(try await mute(conversation, as: people[1], at: gateway).status == 204)
                #expect(try await mute(conversation, as: people[1], #"{"until":\#(until)}"#, at: gateway).status == 204)
                let shown = try await gateway.get(conversation, as: people[1]).decode(ConversationAnswer.self)
                #expect(shown.muted && shown.mutedUntil == until)
                let listed = try await gateway.list(as: people[1]).conversations
                #expect(listed.first { $0.id == conversation.description }?.mutedUntil == until)
                #expect(try await unmute(conversation, as: people[1], at: stack.gateways[1]).status == 204)
                #expect(try await unmute(conversation, as: people[1], at: gateway).status == 204, "a repeat")
                #expect(try await mute(conversation, as: people[1], "{}", at: gateway).status == 204)
                let told = try await gateway.queue(people[1].id).filter { $0.type == .mute && $0.conv == conversation }
                #expect(told.map(\.muted) == [true, true, false, false, true])
                #expect(told.map(\.mutedUntil) == [nil, until, nil, nil, nil])
                #expect(try await gateway.list(as: people[1]).conversations.filter(\.muted).count >= 1)
                #expect(try await gateway.list(as: people[0]).conversations.filter(\.muted).isEmpty)
                #expect(try await gateway.queue(people[0].id).count == before, "nobody else hears of it")
            }
        }
    }

    @Test func `who has muted a conversation now`() async throws {
        try await GroupsStack.with { stack in
            let people = try await stack.users(4)
            let group = try await stack.group(people)
            let mutes = ConversationMutes(postgres: stack.pool)
            let now = WallClock.milliseconds()
            try await mutes.set(Mute(until: nil), of: people[0].id, in: group)
            try await mutes.set(Mute(until: now + 3_600_000), of: people[1].id, in: group)
            try await mutes.set(Mute(until: now - 1000), of: people[2].id, in: group)
            let all = people.map(\.id)
            #expect(try await mutes.muted(all, in: group) == [people[0].id, people[1].id])
            #expect(try await mutes.muted([people[1].id], in: group) == [people[1].id])
            #expect(try await mutes.muted(all, in: .direct(all[0], all[1])) == [])
            let listed = try await stack.gateways[0].list(as: people[2]).conversations
            #expect(listed.map(\.muted) == [false] && listed[0].mutedUntil == nil, "its time is up")
            // Who is deleted leaves nothing behind.
            _ = try await stack.pool.query("DELETE FROM users WHERE id = \(people[0].id.description)")
            #expect(try await mutes.mute(of: people[0].id, in: group) == nil)
        }
    }

    @Test func `whoever changes it at once, devices end with what is stored`() async throws {
        try await GroupsStack.with { stack in
            let people = try await stack.users(2)
            let group = try await stack.group(people)
            for _ in 0..<10 {
                try await withThrowingTaskGroup(of: Int.self) { tasks in
                    for turn in 0..<6 {
                        tasks.addTask {
                            let gateway = stack.gateways[turn % 2]
                            return turn < 3
                                ? try await mute(group, as: people[0], at: gateway).status
                                : try await unmute(group, as: people[0], at: gateway).status
                        }
                    }
                    for try await status in tasks { #expect(status == 204) }
                }
                let stored = try await ConversationMutes(postgres: stack.pool).mute(of: people[0].id, in: group)
                #expect(try await stack.gateways[0].queue(people[0].id).last?.muted == (stored != nil))
            }
        }
    }

    @Test func `what is no mute is refused`() async throws {
        try await GroupsStack.with { stack in
            let gateway = stack.gateways[0]
            let (owner, former, stranger) = (try await stack.user(), try await stack.user(), try await stack.user())
            let group = try await stack.group([owner, former])
            _ = try await gateway.remove(former.id, from: group, as: owner)
            for body in ["1", "-1", "0", "9007199254740992", "1e300", "1.5", #""soon""#, "true"] {
                let answer = try await mute(group, as: owner, #"{"until":\#(body)}"#, at: gateway)
                #expect(answer.problem == .invalid, "\(body): \(answer.text)")
            }
            #expect(try await mute(group, as: owner, "[]", at: gateway).problem == .invalid)
            #expect(try await mute(group, as: owner, "{", at: gateway).problem == .badFrame)
            for (person, code) in [(former, ErrorCode.notMember), (stranger, .notFound)] {
                #expect(try await mute(group, as: person, at: gateway).problem == code)
                #expect(try await unmute(group, as: person, at: gateway).problem == code)
            }
            let unopened = ConversationID.direct(owner.id, stranger.id)
            #expect(try await mute(unopened, as: owner, at: gateway).problem == .notFound)
            #expect(try await mute(.direct(former.id, stranger.id), as: owner, at: gateway).problem == .notFound)
            #expect(try await gateway.list(as: owner).conversations.map(\.muted) == [false])
        }
    }
}
