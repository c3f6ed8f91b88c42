public import ParleyWire

// What a session says. Sends and changes wait for their commit, over reconnects if need be. They throw `refused` where the
// gateway says no, and `closed` when the session ends first: then the outcome is unknown, and the cid settles it.
extension ParleySession {
    /// Sends a message.
    /// - Parameter cid: of an earlier attempt whose outcome is unknown; nil for a new message.
    public func send(
        _ content: MessageContent,
        to target: ClientFrame.Target,
        cid: ClientMessageID? = nil
    ) async throws(ClientError) -> ServerFrame.Sent {
        let cid = cid ?? newID()
        return try await commit(cid, .send(.init(cid: cid, target: target, content: content)))
    }

    /// Gives one's own message another body.
    public func edit(
        _ mid: MessageID,
        in conversation: ConversationID,
        body: String,
        cid: ClientMessageID? = nil
    ) async throws(ClientError) -> ServerFrame.Sent {
        let cid = cid ?? newID()
        return try await commit(cid, .edit(.init(cid: cid, conv: conversation, mid: mid, body: body)))
    }

    /// Deletes one's own message, for everybody.
    public func delete(
        _ mid: MessageID,
        in conversation: ConversationID,
        cid: ClientMessageID? = nil
    ) async throws(ClientError) -> ServerFrame.Sent {
        let cid = cid ?? newID()
        return try await commit(cid, .delete(.init(cid: cid, conv: conversation, mid: mid)))
    }

    /// Says that everything up to `seq` was read, now or on return.
    public func read(_ conversation: ConversationID, upTo seq: Int64) {
        guard isReady, socket?.isOpen == true else { return state.addRead(conversation, upTo: seq) }
        send(ClientFrame(.read(conv: conversation, seq: seq)))
    }

    /// Says that somebody writes here; at most every three seconds. Dropped while there is no connection.
    public func typing(in conversation: ConversationID) {
        send(ClientFrame(.typing(conv: conversation)))
    }

    private func newID() -> ClientMessageID { .random(unixMilliseconds: Self.now() + clockOffset) }

    private func commit(
        _ cid: ClientMessageID,
        _ operation: ClientFrame.Operation
    ) async throws(ClientError) -> ServerFrame.Sent {
        guard !isClosed else { throw ClientError(.closed, "the session is closed") }
        guard waiting[cid] == nil else { throw ClientError(.refused(.conflict), "\(cid) is being sent already") }
        state.add(cid, operation)
        let result = await withCheckedContinuation { continuation in
            waiting[cid] = continuation
            transmit()
        }
        return try result.get()
    }
}
