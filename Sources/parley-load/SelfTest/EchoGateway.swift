import Foundation
import NIOCore
import NIOPosix
import ParleyClient
import ParleyWire

/// A gateway in this process that keeps everything in memory and promises nothing: what the generator is measured
/// against, and what tests of it provoke. Sign-up, sessions, sends between two, history; one event loop.
final class EchoGateway: Sendable {
    /// What to do wrong with the copies of messages.
    enum Fault: Sendable {
        /// Every n-th message does not reach its recipient, though acknowledged.
        case drop(Int)
        case double(Int)
        /// A message goes to its recipient after the next one of the conversation.
        case swap(Int)
        /// A copy reaches somebody else too.
        case leak(Int)
        /// An acknowledged message is missing in history.
        case forget(Int)
        /// Every message is refused.
        case refuse
        /// Histories come only after so long.
        case stall(TimeAmount)
        /// Every second sign-up is put off for so many milliseconds.
        case limit(Int)
        /// The first so many who come back are not answered.
        case ignore(Int)
        /// Whoever comes back is told to take what they missed from history.
        case resync
    }

    let url: String
    private let channel: any Channel
    private let store: NIOLoopBound<EchoStore>

    static func start(on group: any EventLoopGroup, fault: Fault? = nil) async throws -> EchoGateway {
        let eventLoop = group.any()
        let store = try await eventLoop.submit { NIOLoopBound(EchoStore(fault: fault), eventLoop: eventLoop) }.get()
        let channel = try await ServerBootstrap(group: eventLoop)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(EchoHandler(store: store.value))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        guard let port = channel.localAddress?.port else { throw LoadError("the echo gateway has no port") }
        return EchoGateway(url: "http://127.0.0.1:\(port)", channel: channel, store: store)
    }

    private init(url: String, channel: any Channel, store: NIOLoopBound<EchoStore>) {
        (self.url, self.channel, self.store) = (url, channel, store)
    }

    /// Signed-in connections.
    func sessionCount() async throws -> Int {
        try await channel.eventLoop.submit { [store] in store.value.sessions.count }.get()
    }

    /// Messages committed so far, histories asked for, and sessions that came back.
    func counts() async throws -> (messages: Int, histories: Int, returns: Int) {
        try await channel.eventLoop.submit { [store] in
            (Int(store.value.sequence), store.value.historiesAsked, store.value.returns)
        }.get()
    }

    /// Asks all sessions to go to another gateway.
    func sendAway(to url: String) async throws {
        try await channel.eventLoop.submit { [store] in
            for session in store.value.sessions.values {
                session.send(.goaway(.init(reason: "test", reconnectMilliseconds: 0, url: url)))
            }
        }.get()
    }

    /// Ends every session's connection without a close frame.
    func breakConnections() async throws {
        try await channel.eventLoop.submit { [store] in
            for session in store.value.sessions.values { session.context?.close(promise: nil) }
        }.get()
    }

    func stop() async throws {
        try await breakConnections()
        try await channel.close()
    }
}

/// Everything of an echo gateway but the sockets.
final class EchoStore {
    struct Entry {
        let event: Event
        let q: Int64
    }

    let fault: EchoGateway.Fault?
    var historiesAsked = 0
    var signUps = 0
    var returns = 0
    var sessions: [UserID: EchoHandler] = [:]
    private(set) var queues: [UserID: [Entry]] = [:]
    private(set) var histories: [ConversationID: [Event]] = [:]
    private var answers: [ClientMessageID: ServerFrame.Sent] = [:]
    private var seqs: [ConversationID: Int64] = [:]
    private var held: [ConversationID: Event] = [:]
    private(set) var sequence: Int64 = 0

    init(fault: EchoGateway.Fault?) {
        self.fault = fault
    }

    func commit(_ send: ClientFrame.Send, from sender: UserID) -> ServerFrame.Sent? {
        if var first = answers[send.cid] {
            first.dup = true
            return first
        }
        let conv: ConversationID
        switch send.target {
        case .conversation(let id): conv = id
        case .user(let user): conv = .direct(sender, user)
        }
        if case .refuse = fault { return nil }
        guard let peer = conv.peer(of: sender) else { return nil }
        sequence += 1
        let seq = seqs[conv, default: 0] + 1
        seqs[conv] = seq
        let now = Clock.unixMilliseconds()
        let milliseconds = MessageID.epochUnixMilliseconds + sequence / 4096
        guard let mid = MessageID(unixMilliseconds: milliseconds, lane: 0, sequence: Int(sequence % 4096)) else {
            return nil
        }
        let sent = ServerFrame.Sent(cid: send.cid, conv: conv, mid: mid, seq: seq, ts: now)
        answers[send.cid] = sent
        var event = Event.message(conv: conv, seq: seq, mid: mid, from: sender, ts: now, content: send.content)
        distribute(event, to: peer)
        event.cid = send.cid
        deliver(event, to: sender)
        return sent
    }

    /// To history and to the recipient, with the fault if it is this message's turn.
    private func distribute(_ event: Event, to peer: UserID) {
        func isTurn(_ n: Int) -> Bool { sequence.isMultiple(of: Int64(n)) }
        var copies = [event]
        var isKept = true
        switch fault {
        case .drop(let n) where isTurn(n): copies = []
        case .double(let n) where isTurn(n): copies = [event, event]
        case .leak(let n) where isTurn(n):
            if let stranger = sessions.keys.first(where: { event.conv?.peer(of: $0) == nil }) {
                deliver(event, to: stranger)
            }
        case .forget(let n) where isTurn(n): isKept = false
        case .swap(let n):
            guard let conv = event.conv else { break }
            if let earlier = held.removeValue(forKey: conv) {
                copies = [event, earlier]
            } else if isTurn(n) {
                held[conv] = event
                copies = []
            }
        default: break
        }
        if isKept, let conv = event.conv { histories[conv, default: []].append(event) }
        for copy in copies { deliver(copy, to: peer) }
    }

    private func deliver(_ event: Event, to user: UserID) {
        let q = Int64(queues[user]?.count ?? 0) + 1
        queues[user, default: []].append(Entry(event: event, q: q))
        sessions[user]?.send(.event(q: q, event))
    }
}
