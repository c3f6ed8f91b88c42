import NIOCore
import ParleyClient
import ParleyWire
import Testing

/// The client's typed calls, on a whole stack.
@Suite(.timeLimit(.minutes(5))) struct ClientCallsTests {
    private func code<R>(_ call: () async throws(ClientError) -> R) async -> ClientError.Code? {
        do throws(ClientError) {
            _ = try await call()
            return nil
        } catch {
            return error.code
        }
    }

    /// One after the other, on one stack.
    @Test func `calls do what they say`() async throws {
        try await ClientWorld.with { world in
            try await overHTTP(world)
            try await groups(world)
            try await bySocket(world)
        }
    }

    /// Messages, polls, history, devices.
    private func overHTTP(_ world: ClientWorld) async throws {
        let (api, ann, bob) = (world.api, try await world.person("ann"), try await world.person("bob"))
        let conv = ConversationID.direct(ann.user, bob.user)
        let device = try #require(DeviceID("script"))
        var cursor = try await api.sync(after: nil, device: device, token: bob.accessToken).cursor

        // Messages
        let cid = world.newID()
        let first = try await api.send(MessageContent(body: "one"), to: conv, cid: cid, token: ann.accessToken)
        let again = try await api.send(MessageContent(body: "one"), to: conv, cid: cid, token: ann.accessToken)
        #expect(first.seq == 1 && !first.dup && again.dup && again.mid == first.mid)
        let conflict = await code { () async throws(ClientError) in
            try await api.send(MessageContent(body: "other"), to: conv, cid: cid, token: ann.accessToken)
        }
        #expect(conflict == .refused(.conflict))
        let reply = try await api.send(
            MessageContent(body: "two", data: #"{"n" : 1.50}"#, replyTo: first.mid),
            to: conv,
            cid: world.newID(),
            token: bob.accessToken
        )
        let edited = try await api.edit(
            first.mid,
            in: conv,
            body: "one!",
            cid: world.newID(),
            token: ann.accessToken
        )
        let deleted = try await api.delete(reply.mid, in: conv, cid: world.newID(), token: bob.accessToken)
        #expect(edited.mid == first.mid && edited.rev != nil && deleted.rev != nil)
        let forbidden = await code { () async throws(ClientError) in
            try await api.edit(first.mid, in: conv, body: "mine", cid: world.newID(), token: bob.accessToken)
        }
        #expect(forbidden == .refused(.forbidden))
        for number in 3...5 {
            let content = MessageContent(body: "\(number)")
            _ = try await api.send(content, to: conv, cid: world.newID(), token: ann.accessToken)
        }

        // Polls
        var events: [Event] = []
        while events.count < 7 {
            let page = try await api.sync(
                after: cursor,
                device: device,
                wait: 30,
                limit: 3,
                token: bob.accessToken
            )
            #expect(!page.resync && page.events.count <= 3)
            #expect(page.events.first?.q == cursor.q + 1)
            events += page.events.map(\.event)
            cursor = page.cursor
        }
        #expect(events.map(\.type) == [.message, .message, .edited, .deleted, .message, .message, .message])
        #expect(events[1].data == #"{"n" : 1.50}"# && events[1].replyTo == first.mid)
        let stale = ClientFrame.Cursor(epoch: "other", q: 1)
        #expect(try await api.sync(after: stale, token: bob.accessToken).resync)

        // History and the list
        func seqs(_ position: HistoryPosition, limit: Int = 2) async throws -> [Int64] {
            try await api.history(of: conv, at: position, limit: limit, token: bob.accessToken).messages.map(\.seq)
        }
        #expect(try await seqs(.newest) == [5, 4])
        #expect(try await seqs(.after(first.mid)) == [2, 3])
        #expect(try await seqs(.afterSeq(3)) == [4, 5])
        #expect(try await seqs(.before(reply.mid)) == [1])
        let history = try await api.history(of: conv, at: .afterSeq(0), token: bob.accessToken).messages
        #expect(history[0].body == "one!" && history[0].rev == edited.rev)
        #expect(history[1].deleted == true && history[1].body == nil && history[1].data == nil)
        #expect(history[1].cid == reply.cid && history[0].cid == nil, "one's own")
        try await api.read(conv, upTo: 3, token: bob.accessToken)
        let entry = try await api.conversation(conv, token: bob.accessToken)
        #expect(entry.readSeq == 3 && entry.unread == 2 && entry.last?.body == "5" && entry.title == nil)
        #expect(try await api.conversations(token: bob.accessToken).map(\.id) == [conv])

        // Devices
        let other = try await api.login(username: bob.person.username, password: "a long password")
        let signIns = try await api.signIns(token: bob.accessToken)
        #expect(signIns.count == 2 && signIns.filter(\.current).count == 1)
        #expect(signIns.first(where: \.current)?.devices.map(\.name) == ["script"])
        let own = try #require(signIns.first { $0.current })
        try await api.signOut(own.id, token: other.accessToken)
        let gone = await code { () async throws(ClientError) in try await api.signIns(token: bob.accessToken) }
        #expect(gone == .refused(.unauthorized))
        try await api.logout(token: other.accessToken)
    }

    /// A group from its beginning to one's leaving.
    private func groups(_ world: ClientWorld) async throws {
        let (api, ann, bob) = (world.api, try await world.person("ann"), try await world.person("bob"))
        let eve = try await world.person("eve")
        let key = world.newID()
        let group = try await api.createGroup(title: "Team", members: [bob.user], key: key, token: ann.accessToken)
        let same = try await api.createGroup(title: "Team", members: [bob.user], key: key, token: ann.accessToken)
        #expect(same == group)
        let renamed = try await api.rename(group, to: "The team", token: ann.accessToken)
        #expect(renamed.title == "The team" && renamed.owner == ann.user && renamed.kind == "group")
        let added = try await api.add(eve.user, to: group, role: "admin", token: ann.accessToken)
        #expect(Set(added.members) == [ann.user, bob.user, eve.user] && added.admins == [eve.user])
        let refused = await code { () async throws(ClientError) in
            try await api.rename(group, to: "Mine", token: bob.accessToken)
        }
        #expect(refused == .refused(.forbidden))
        try await api.remove(bob.user, from: group, token: eve.accessToken)
        try await api.remove(eve.user, from: group, token: eve.accessToken)
        let left = await code { () async throws(ClientError) in
            try await api.history(of: group, token: eve.accessToken)
        }
        #expect(left == .refused(.notMember))
        #expect(try await api.conversations(token: eve.accessToken).isEmpty)
        let entry = try await api.conversation(group, token: ann.accessToken)
        #expect(entry.members == [ann.user] && entry.version == added.version.map { $0 + 2 })
        let entries = try await api.history(of: group, at: .afterSeq(0), token: ann.accessToken).messages
        let types = ["conversation", "conversation", "member_added", "member_removed", "member_removed"]
        #expect(entries.map(\.type) == types)
        #expect(entries[2].user == eve.user && entries[2].role == "admin" && !entries[2].isMessage)
    }

    /// Changes, reading and typing.
    private func bySocket(_ world: ClientWorld) async throws {
        let (ann, bob) = (try await world.person("ann"), try await world.person("bob"))
        let (writer, reader) = (try world.session(ann, "desk"), try world.session(bob, "phone"))
        var theirs = writer.updates.makeAsyncIterator()
        var updates = reader.updates.makeAsyncIterator()
        func next(
            _ iterator: inout AsyncStream<ParleySession.Update>.Iterator,
            _ wanted: (ParleySession.Update) -> Bool
        ) async throws -> ParleySession.Update {
            while let update = await iterator.next() { if wanted(update) { return update } }
            throw ClientError(.closed, "the session ended")
        }
        func event(
            _ type: EventType,
            _ iterator: inout AsyncStream<ParleySession.Update>.Iterator
        ) async throws -> Event {
            let update = try await next(&iterator) {
                if case .event(_, let event) = $0 { event.type == type } else { false }
            }
            guard case .event(_, let event) = update else { preconditionFailure("an event was asked for") }
            return event
        }
        let isLive: (ParleySession.Update) -> Bool = { if case .live = $0 { true } else { false } }
        _ = try await next(&theirs, isLive)
        _ = try await next(&updates, isLive)

        let sent = try await writer.send(MessageContent(body: "one"), to: .user(bob.user))
        #expect(try await event(.message, &updates).mid == sent.mid)
        let edited = try await writer.edit(sent.mid, in: sent.conv, body: "two")
        let change = try await event(.edited, &updates)
        #expect(change.body == "two" && change.rev == edited.rev && change.mid == sent.mid)
        let refused = await code { () async throws(ClientError) in
            try await reader.delete(sent.mid, in: sent.conv)
        }
        #expect(refused == .refused(.forbidden))

        await reader.typing(in: sent.conv)
        let typing = ParleySession.Update.ephemeral(.typing(conv: sent.conv, user: bob.user))
        _ = try await next(&theirs) { $0 == typing }
        // Said while there is no connection, and told on return.
        await reader.breakConnection()
        await reader.read(sent.conv, upTo: 1)
        while try await event(.receipt, &theirs).read != 1 {}
        let deleted = try await writer.delete(sent.mid, in: sent.conv)
        #expect(try await event(.deleted, &updates).rev == deleted.rev)
        await writer.close()
        await reader.close()
    }
}
