import ParleyWire
import Testing

@testable import ParleyClient

/// What a session decides while it resyncs, and what a copy of the conversations makes of it.
@Suite struct ResyncDecisionTests {
    private let ann = UserID("ann")!
    private let bob = UserID("bob")!
    private var conv: ConversationID { .direct(ann, bob) }

    private func ready(_ mode: ServerFrame.Mode, epoch: String = "e", head: Int64) -> ServerFrame.Ready {
        .init(user: bob, session: "s", epoch: epoch, head: head, mode: mode, now: 0)
    }

    private func mid(_ number: Int64) -> MessageID { MessageID(rawValue: UInt64(1000 + number))! }

    private func message(_ seq: Int64) -> Event {
        .message(conv: conv, seq: seq, mid: mid(seq), from: ann, ts: seq, content: MessageContent(body: "\(seq)"))
    }

    private func edit(_ seq: Int64, rev: Int64, to body: String? = "edited") -> Event {
        var event = Event(body == nil ? .deleted : .edited, conv: conv)
        (event.mid, event.seq, event.rev, event.body, event.from) = (mid(seq), seq, rev, body, ann)
        return event
    }

    private func history(_ seqs: ClosedRange<Int64>, more: Bool = false) -> HistoryPage {
        HistoryPage(messages: seqs.map { HistoryMessage(message($0))! }, more: more)
    }

    private func list(last: Int64, _ id: ConversationID? = nil, next: String? = nil) -> ConversationPage {
        let last = ConversationEntry.Last(mid: mid(last), seq: last, ts: 0)
        let entry = ConversationEntry(
            id: id ?? conv,
            kind: "direct",
            members: [ann, bob],
            last: last,
            unread: 0,
            readSeq: 0
        )
        return ConversationPage(conversations: [entry], next: next)
    }

    /// Bodies of what is told, those that the device knew in parentheses.
    private func told(_ updates: [ParleySession.Update]) -> [String] {
        updates.flatMap { update -> [String] in
            switch update {
            case .history(_, let messages, let known):
                messages.map { $0.seq > known ? $0.body ?? "-" : "(\($0.body ?? "-"))" }
            case .event(_, let event): [event.body ?? event.type.rawValue]
            case .live(let q): ["live \(q)"]
            case .resync(let entries): ["list of \(entries.count)"]
            case .ready, .ephemeral, .disconnected: []
            }
        }
    }

    @Test func `a new device begins with the list alone`() {
        var state = SessionState(resume: nil)
        let begins1 = state.ready(ready(.live, head: 7))
        #expect(begins1)
        #expect(state.cursor == nil && state.resync?.request == .conversations(after: nil))
        #expect(state.read(list(last: 3, next: "c")).isEmpty)
        #expect(state.resync?.request == .conversations(after: "c"))
        #expect(told(state.read(list(last: 5, .direct(bob, UserID("eve")!)))) == ["list of 2", "live 7"])
        #expect(state.cursor == .init(epoch: "e", q: 7) && state.resync == nil)
        #expect(state.receive(message(4), q: 8) == .handle)
        // Away for too long: it knows up to where it had heard.
        let begins2 = state.ready(ready(.resync, head: 500))
        #expect(begins2)
        _ = state.read(list(last: 6))
        #expect(told(state.read(nil)) == ["list of 1"], "the other conversation is not theirs any more")
        #expect(state.resync?.request == .history(conv, .afterSeq(0)))
        #expect(told(state.read(history(3...6), of: conv)) == ["(3)", "(4)", "5", "6", "live 500"])
    }

    @Test func `events wait for the histories, and come once`() {
        var state = SessionState(resume: .init(epoch: "old", q: 90), known: [conv: 300])
        let begins3 = state.ready(ready(.resync, head: 10))
        #expect(begins3)
        #expect(state.cursor == .init(epoch: "old", q: 90), "until the resync is through")
        #expect(state.receive(message(301), q: 10) == .skip, "before the head: in history")
        #expect(state.receive(message(302), q: 11) == .skip)
        #expect(state.receive(message(304), q: 13) == .fetch(.init(epoch: "e", q: 11)))
        #expect(state.receive(message(303), q: 12) == .skip)
        #expect(state.receive(message(304), q: 13) == .skip)
        #expect(told(state.read(list(last: 302))) == ["list of 1"])
        #expect(state.resync?.request == .history(conv, .afterSeq(100)))
        #expect(told(state.read(history(299...301, more: true), of: conv)) == ["(299)", "(300)", "301"])
        #expect(state.resync?.request == .history(conv, .after(mid(301))))
        #expect(told(state.read(history(302...303), of: conv)) == ["302", "303", "304", "live 13"])
        #expect(state.cursor == .init(epoch: "e", q: 13))
        #expect(state.receive(message(305), q: 14) == .handle)
    }

    @Test func `a lost connection begins it anew, whatever the server then says`() {
        var state = SessionState(resume: .init(epoch: "e", q: 90), known: [conv: 201])
        let begins4 = state.ready(ready(.resync, head: 500))
        #expect(begins4)
        _ = state.receive(message(302), q: 501)
        _ = state.read(list(last: 303))
        #expect(told(state.read(history(201...302, more: true), of: conv)).suffix(2) == ["301", "302"])
        let begins5 = state.ready(ready(.live, head: 501))
        #expect(begins5)
        #expect(state.resync?.request == .conversations(after: nil))
        _ = state.read(list(last: 303))
        #expect(state.resync?.request == .history(conv, .afterSeq(1)))
        #expect(told(state.read(history(301...303), of: conv)) == ["(301)", "(302)", "303", "live 501"])
    }

    @Test func `a conversation that was left meanwhile is passed over`() {
        var state = SessionState(resume: .init(epoch: "old", q: 9))
        let begins6 = state.ready(ready(.resync, head: 2))
        #expect(begins6)
        let group = ConversationID.randomGroup()
        #expect(state.read(list(last: 1, group, next: "c")).isEmpty)
        #expect(told(state.read(list(last: 1))) == ["list of 2"])
        #expect(state.resync?.request == .history(group, .afterSeq(0)))
        #expect(state.lostConversation().isEmpty)
        #expect(told(state.read(history(1...1), of: conv)) == ["1", "live 2"])
    }

    @Test func `a conversation that moved between two pages is asked for by its id`() {
        let (moved, left) = (ConversationID.randomGroup(), ConversationID.randomGroup())
        var state = SessionState(resume: .init(epoch: "old", q: 9), known: [conv: 3, moved: 5, left: 7])
        let begins = state.ready(ready(.resync, head: 2))
        #expect(begins)
        #expect(state.read(list(last: 3)).isEmpty)
        for _ in 0..<2 {
            guard case .conversation(let id)? = state.resync?.request else {
                Issue.record("\(String(describing: state.resync?.request))")
                return
            }
            let entry = id == moved ? list(last: 8, moved).conversations[0] : nil
            let updates = state.read(entry)
            #expect(told(updates) == (state.resync?.request == .history(conv, .afterSeq(0)) ? ["list of 2"] : []))
        }
        #expect(told(state.read(history(3...3), of: conv)) == ["(3)"])
        #expect(state.resync?.request == .history(moved, .afterSeq(0)))
        #expect(told(state.read(history(5...8), of: moved)) == ["(5)", "6", "7", "8", "live 2"])
    }

    @Test func `a copy keeps the newest of what it is told, in order and once`() {
        var replica = Replica(user: bob)
        func bodies() -> [String?]? { replica.conversations[conv]?.messages.map(\.body) }
        for seq in [1, 2, 4] as [Int64] { replica.apply(.event(q: seq, message(seq))) }
        replica.apply(.event(q: 5, edit(2, rev: 7)))
        replica.apply(.event(q: 6, edit(2, rev: 6, to: "earlier")))
        replica.apply(.event(q: 7, edit(9, rev: 1)))
        replica.add(history(1...3).messages, to: conv)
        #expect(bodies() == ["1", "edited", "3", "4"], "an older page does not undo an edit")
        replica.apply(.event(q: 8, edit(2, rev: 8, to: nil)))
        replica.apply(.event(q: 8, edit(2, rev: 9, to: nil)))
        #expect(bodies() == ["1", nil, "3", "4"] && replica.conversations[conv]?.messages[1].deleted == true)
        #expect(replica.known == [conv: 4])
        replica.apply(.resync(list(last: 5).conversations))
        #expect(bodies() == [] && replica.known == [conv: 5])
        replica.apply(.history(conv, history(3...5).messages, known: 4))
        #expect(bodies() == ["3", "4", "5"])
        replica.apply(.resync([]))
        #expect(replica.conversations.isEmpty, "what is not listed is the user's no more")
    }

    @Test func `a copy follows a group's title and members`() {
        let group = ConversationID.randomGroup()
        var replica = Replica(user: bob)
        let entry = ConversationEntry(id: group, kind: "group", members: [ann, bob], unread: 0, readSeq: 0)
        replica.apply(.resync([entry]))
        func tell(_ type: EventType, _ version: Int64, _ fill: (inout Event) -> Void) {
            var event = Event(type, conv: group)
            (event.seq, event.mid, event.ts, event.from, event.version) = (0, mid(version), 0, ann, version)
            fill(&event)
            replica.apply(.event(q: version, event))
        }
        tell(.conversation, 2) { $0.title = "Team" }
        tell(.memberAdded, 3) { $0.user = UserID("eve") }
        tell(.memberRemoved, 4) { $0.user = ann }
        #expect(replica.conversations[group]?.entry?.members == [bob, UserID("eve")!])
        #expect(replica.conversations[group]?.entry?.title == "Team")
        #expect(replica.conversations[group]?.entry?.version == 4)
        #expect(replica.conversations[group]?.messages.count == 3)
        tell(.memberRemoved, 5) { $0.user = bob }
        #expect(replica.conversations[group] == nil)
    }
}
