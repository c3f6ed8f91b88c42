import NIOCore
import ParleyCore
import ParleyWire
import RedisClient

// Frames in.
extension Session {
    private static let badFrameLimit = 10

    func received(_ message: WebSocketMessage) {
        switch message {
        case .text(let text): receivedText(text)
        case .binary: close(.unsupportedData)
        case .ping(let payload):
            var frame = ByteBuffer()
            WebSocketFrame.write(.pong, payload, into: &frame)
            write(frame)
        case .pong: break
        case .close(let code, _):
            var frame = ByteBuffer()
            // The peer's code is echoed (RFC 6455, section 5.5.1).
            var payload = ByteBuffer()
            if let code { payload.writeInteger(code) }
            WebSocketFrame.write(.close, payload, into: &frame)
            leavePresence(after: .closedByClient(code))
            metrics.closingAsAsked()
            finish(with: frame)
        }
    }

    private func receivedText(_ text: ByteBuffer) {
        guard !isLeaving else { return }
        let frame: ClientFrame
        do {
            frame = try ClientFrame.decode(text)
        } catch {
            guard stage != .strange else { return close(.unauthorized, "the first frame must be auth") }
            return refuse(error)
        }
        switch (stage, frame.operation) {
        case (.strange, .auth(let auth)): authenticate(auth)
        case (.strange, _): close(.unauthorized, "the first frame must be auth")
        case (_, .auth): refuse(FrameError(.badFrame, "this socket has its user already", id: frame.id))
        case (.attaching, _): refuse(FrameError(.unavailable, "wait for ready", id: frame.id), retryMilliseconds: 100)
        case (.attached, _): handle(frame)
        case (.closing, _): break
        }
    }

    private func handle(_ frame: ClientFrame) {
        guard admits(frame) else { return }
        switch frame.operation {
        case .send(let send): submit(send, id: frame.id)
        case .ack(let q): acknowledge(q)
        case .ping: write(ServerFrame(.pong(head: cursor), id: frame.id))
        case .sync(let cursor): rewind(to: cursor, id: frame.id)
        case .read(let conversation, let seq): read(conversation, seq, id: frame.id)
        case .typing(let conversation): typing(conversation, id: frame.id)
        case .active: personIsActive()
        case .watch(let users): watch(users)
        case .auth: break
        case .edit(let edit):
            submit(.edit(body: edit.body), of: edit.mid, in: edit.conv, cid: edit.cid, id: frame.id)
        case .delete(let deletion):
            submit(.delete, of: deletion.mid, in: deletion.conv, cid: deletion.cid, id: frame.id)
        case .suggest(let text, let locale): suggest(text, locale, id: frame.id)
        }
    }

    /// Shown to the other members' devices, at most every three seconds, and nowhere kept.
    private func typing(_ conversation: ConversationID, id: FrameID?) {
        guard let user = identity?.user, !conversation.isDirect || conversation.peer(of: user) != nil else {
            return refuse(FrameError(.notFound, "no such conversation", id: id))
        }
        guard lastTyping + .seconds(3) <= .now() else { return }
        lastTyping = .now()
        let notice = UserNotice.typing(conversation: conversation, user: user)
        guard let peer = conversation.peer(of: user) else { return typingInGroup(conversation, user, notice, id: id) }
        let arguments = [user.description, peer.description, notice.payload]
        let command = RedisFunctions.call("typing", keys: [Keys.conversation(conversation)], arguments)
        hub.connection(of: self).send(command) { _ in }
    }

    /// Whether this socket may ask Redis one thing more; the connection is everybody's.
    func beginCall(id: FrameID?) -> Bool {
        guard unansweredCalls < services.configuration.maximumUnansweredSends else {
            refuse(FrameError(.rateLimited, "too many unanswered frames", id: id), retryMilliseconds: 100)
            return false
        }
        unansweredCalls += 1
        return true
    }

    func endCall() {
        unansweredCalls -= 1
        closeWhenAnswered()
    }

    /// Answers a frame with an error; the tenth bad one ends the connection.
    func refuse(_ error: FrameError, retryMilliseconds: Int64? = nil, _ activity: Activity = .frame) {
        metrics.refused(error.code)
        services.refusals.count(activity, error.code)
        write(ServerFrame(error, retryMilliseconds: retryMilliseconds))
        guard error.code == .badFrame else { return }
        badFrames += 1
        if badFrames >= Self.badFrameLimit { close(.badFrames) }
    }
}
