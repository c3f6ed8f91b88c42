import ParleyClient
import ParleyWire
import TestSupport
import Testing

/// A device beyond its queue, on a whole stack whose queues are short.
@Suite(.timeLimit(.minutes(5))) struct ResyncStackTests {
    /// What a copy holds is what the server says.
    private static func compare(_ viewer: Viewer, _ account: Account, at api: ParleyAPI) async throws {
        let entries = try await api.conversations(token: account.accessToken)
        #expect(Set(viewer.replica.conversations.keys) == Set(entries.map(\.id)))
        for entry in entries {
            var page = try await api.history(of: entry.id, at: .afterSeq(0), token: account.accessToken)
            var messages = page.messages
            while page.more, let last = messages.last {
                page = try await api.history(of: entry.id, at: .after(last.mid), token: account.accessToken)
                messages += page.messages
            }
            // A further resync begins two hundred messages below what was known, so the copy may be the later part.
            let copy = viewer.replica.conversations[entry.id]
            let count = copy?.messages.count ?? 0
            let isEqual = copy?.messages == messages.suffix(count) && count >= min(messages.count, 200)
            #expect(isEqual, "\(entry.id): \(count) of \(messages.count)")
            let isWhole = (viewer.news[entry.id] ?? []) == messages.filter(\.isMessage).map(\.mid)
            #expect(isWhole, "everything once, in order: \(entry.id)")
            if let known = copy?.entry {
                #expect(known.members.sorted() == entry.members.sorted() && known.title == entry.title)
            }
        }
    }

    /// Somebody who looks at a session's updates.
    private struct Viewer {
        var replica: Replica
        var cursor: ClientFrame.Cursor?
        /// What was new, in the order in which it was told.
        var news: [ConversationID: [MessageID]] = [:]
        var resyncs = 0

        init(_ account: Account) {
            replica = Replica(user: account.user)
        }

        mutating func take(_ update: ParleySession.Update) {
            replica.apply(update)
            switch update {
            case .resync: resyncs += 1
            case .history(let conv, let messages, let known):
                news[conv, default: []] += messages.filter { $0.isMessage && $0.seq > known }.map(\.mid)
            case .event(_, let event):
                guard event.type == .message, let conv = event.conv, let mid = event.mid else { return }
                news[conv, default: []].append(mid)
            case .ready, .live, .ephemeral, .disconnected: break
            }
        }

        mutating func follow(
            _ session: ParleySession,
            _ updates: inout AsyncStream<ParleySession.Update>.Iterator,
            until isEnough: (Viewer, ParleySession.Update) async throws -> Bool
        ) async throws {
            while let update = await updates.next() {
                take(update)
                if try await isEnough(self, update) {
                    cursor = await session.cursor
                    return
                }
            }
            Issue.record("the session ended")
        }

        func has(_ sent: ServerFrame.Sent) -> Bool {
            replica.conversations[sent.conv]?.messages.contains { $0.mid == sent.mid } == true
        }
    }

    private static func isLive(_ viewer: Viewer, _ update: ParleySession.Update) -> Bool {
        if case .live = update { true } else { false }
    }

    /// Writes, edits and deletes in these conversations until it is cancelled.
    /// - Returns: the last message of each.
    private static func chatter(
        _ session: ParleySession,
        in places: [ClientFrame.Target]
    ) -> Task<[ServerFrame.Sent], any Error> {
        Task {
            var last: [ServerFrame.Sent] = []
            var number = 0
            while !Task.isCancelled {
                last = []
                for place in places {
                    let sent = try await session.send(MessageContent(body: "meanwhile \(number)"), to: place)
                    if number % 3 == 1 { _ = try await session.edit(sent.mid, in: sent.conv, body: "edited \(number)") }
                    if number % 5 == 2 { _ = try await session.delete(sent.mid, in: sent.conv) }
                    last.append(sent)
                }
                number += 1
                // So few that a device which is cut off for a moment may resume.
                try? await Task.sleep(for: .milliseconds(50))
            }
            for place in places { last.append(try await session.send(MessageContent(body: "the end"), to: place)) }
            return last
        }
    }

    @Test func `it rebuilds from history while messages go on arriving`() async throws {
        try await ClientWorld.with(settings: ["PARLEY_QUEUE_CAP=100"]) { world in
            let (ann, bob) = (try await world.person("ann"), try await world.person("bob"))
            let eve = try await world.person("eve")
            let writer = try world.session(ann, "desk")
            let other = try world.session(eve, "desk")
            var viewer = Viewer(bob)
            var phone = try world.session(bob, "phone")
            var updates = phone.updates.makeAsyncIterator()
            try await viewer.follow(phone, &updates, until: Self.isLive)
            #expect(viewer.resyncs == 1 && viewer.replica.conversations.isEmpty, "a new device; nothing is there yet")

            var first: [ServerFrame.Sent] = []
            for number in 0..<20 {
                first.append(try await writer.send(MessageContent(body: "\(number)"), to: .user(bob.user)))
            }
            let content = MessageContent(body: "answer", data: #"{"n" : 2.50}"#, replyTo: first[3].mid)
            let answer = try await writer.send(content, to: .user(bob.user))
            let hello = try await other.send(MessageContent(body: "hello"), to: .user(bob.user))
            try await viewer.follow(phone, &updates) { viewer, _ in viewer.has(answer) && viewer.has(hello) }
            await phone.close()

            // Away: more than the queue keeps, changes of what the device has, and a group it does not know.
            _ = try await writer.edit(first[4].mid, in: first[4].conv, body: "edited while away")
            _ = try await writer.delete(first[7].mid, in: first[7].conv)
            for number in 0..<250 {
                _ = try await writer.send(MessageContent(body: "away \(number)"), to: .user(bob.user))
            }
            let group = try await world.api.createGroup(
                title: "Team",
                members: [bob.user, eve.user],
                key: world.newID(),
                token: ann.accessToken
            )
            for number in 0..<5 {
                _ = try await other.send(MessageContent(body: "group \(number)"), to: .conversation(group))
            }
            try await world.api.rename(group, to: "The team", token: ann.accessToken)

            let chatter = Self.chatter(writer, in: [.user(bob.user), .conversation(group)])
            phone = try world.session(bob, "phone", resume: viewer.cursor, known: viewer.replica.known)
            updates = phone.updates.makeAsyncIterator()
            var isBroken = false
            try await viewer.follow(phone, &updates) { [phone] viewer, update in
                // In the middle of it the connection breaks once.
                if case .history = update, !isBroken {
                    isBroken = true
                    await phone.breakConnection()
                }
                return Self.isLive(viewer, update)
            }
            #expect(viewer.resyncs >= 2)
            try await Task.sleep(for: .milliseconds(500))
            chatter.cancel()
            let last = try await chatter.value
            try await viewer.follow(phone, &updates) { viewer, _ in last.allSatisfy(viewer.has) }
            try await Self.compare(viewer, bob, at: world.api)
            let copies = viewer.replica.conversations[answer.conv]?.messages ?? []
            func copy(of sent: ServerFrame.Sent) -> HistoryMessage? { copies.first { $0.mid == sent.mid } }
            if let edited = copy(of: first[4]) { #expect(edited.body == "edited while away") }
            if let deleted = copy(of: first[7]) { #expect(deleted.deleted == true && deleted.body == nil) }
            if let answer = copy(of: answer) {
                #expect(answer.data == #"{"n" : 2.50}"# && answer.replyTo == first[3].mid)
            }
            for session in [writer, other, phone] { await session.close() }
        }
    }

    @Test func `a device that was away for a month rebuilds from history`() async throws {
        try await ClientWorld.with { world in
            let (ann, bob) = (try await world.person("ann"), try await world.person("bob"))
            let writer = try world.session(ann, "desk")
            func say(_ body: String) async throws -> ServerFrame.Sent {
                try await writer.send(MessageContent(body: body), to: .user(bob.user))
            }
            var viewer = Viewer(bob)
            var phone = try world.session(bob, "phone")
            var updates = phone.updates.makeAsyncIterator()
            try await viewer.follow(phone, &updates, until: Self.isLive)
            let first = try await say("first")
            try await viewer.follow(phone, &updates) { viewer, _ in viewer.has(first) }
            await phone.close()

            // The phone's place is from a month ago, and goes when another device acknowledges.
            func words(_ command: String...) async throws -> [Substring] {
                try await world.stack.redis(command).split(whereSeparator: \.isWhitespace)
            }
            let key = String(try #require(try await words("--scan", "--pattern", "user:*:\(bob.user)").first))
            func place() async throws -> [Substring] { try await words("HGET", key, "device:phone") }
            try #require(try await eventually { try await place().last == "-" })
            var old = try await place()
            let seen = try #require(Int64(old[2]))
            old[2] = "\(seen - 31 * 86_400_000)"
            try await world.stack.redis(["HSET", key, "device:phone", old.joined(separator: " ")])
            let missed = try await say("missed")
            let desk = try world.session(bob, "desk")
            var later = Viewer(bob)
            var news = desk.updates.makeAsyncIterator()
            try await later.follow(desk, &news, until: Self.isLive)
            let seenElsewhere = try await say("seen elsewhere")
            try await later.follow(desk, &news) { viewer, _ in viewer.has(seenElsewhere) }
            #expect(try await eventually { try await place().isEmpty })

            phone = try world.session(bob, "phone", resume: viewer.cursor, known: viewer.replica.known)
            updates = phone.updates.makeAsyncIterator()
            try await viewer.follow(phone, &updates, until: Self.isLive)
            #expect(viewer.resyncs == 2 && viewer.has(missed) && viewer.has(seenElsewhere))
            try await Self.compare(viewer, bob, at: world.api)
            for session in [writer, desk, phone] { await session.close() }
        }
    }

    @Test func `a new epoch is one more resync`() async throws {
        try await ClientWorld.with(settings: ["PARLEY_QUEUE_CAP=100"]) { world in
            let (ann, bob) = (try await world.person("ann"), try await world.person("bob"))
            let writer = try world.session(ann, "desk")
            var viewer = Viewer(bob)
            let phone = try world.session(bob, "phone")
            var updates = phone.updates.makeAsyncIterator()
            try await viewer.follow(phone, &updates, until: Self.isLive)
            var sent: [ServerFrame.Sent] = []
            for number in 0..<20 {
                sent.append(try await writer.send(MessageContent(body: "\(number)"), to: .user(bob.user)))
            }
            _ = try await writer.edit(sent[3].mid, in: sent[3].conv, body: "edited")
            try await viewer.follow(phone, &updates) { viewer, update in
                if case .event(_, let event) = update { event.type == .edited } else { false }
            }
            let epoch = viewer.cursor?.epoch
            let isArchived = try await eventually {
                try await world.stack.sql("SELECT count(*) FROM messages WHERE rev IS NOT NULL") == "1\n"
            }
            #expect(isArchived)
            try await world.stack.redis("FLUSHALL")

            let chatter = Self.chatter(writer, in: [.user(bob.user)])
            try await viewer.follow(phone, &updates) { viewer, update in
                viewer.resyncs >= 2 && Self.isLive(viewer, update)
            }
            #expect(viewer.cursor?.epoch != epoch)
            chatter.cancel()
            let last = try await chatter.value
            try await viewer.follow(phone, &updates) { viewer, _ in last.allSatisfy(viewer.has) }
            try await Self.compare(viewer, bob, at: world.api)
            for session in [writer, phone] { await session.close() }
        }
    }
}
