import NIOCore
import ParleyClient
import ParleyWire

/// Writes messages to a conversation as fast as the bound on unanswered ones lets it. On one event loop.
final class Writer {
    private let seat: Seat
    private let eventLoop: any EventLoop
    private let promise: EventLoopPromise<Void>
    private var unsent = 0
    private var unanswered = 0

    init(_ seat: Seat, on eventLoop: any EventLoop) {
        self.seat = seat
        self.eventLoop = eventLoop
        promise = eventLoop.makePromise()
    }

    /// - Returns: what succeeds when all are acknowledged.
    func write(_ count: Int, of content: MessageContent, in conversation: ConversationID) -> EventLoopFuture<Void> {
        unsent = count
        let gateway = seat.gateways[seat.home]
        ParleySocket.connect(to: gateway.address, at: gateway.socketAddress, on: eventLoop) {
            switch $0 {
            case .success(let socket): self.opened(socket, content, conversation)
            case .failure(let error): self.promise.fail(error)
            }
        }
        return promise.futureResult
    }

    private func opened(_ socket: ParleySocket, _ content: MessageContent, _ conversation: ConversationID) {
        func go() {
            while unsent > 0, unanswered < ChatScenario.window {
                (unsent, unanswered) = (unsent - 1, unanswered + 1)
                let cid = ClientMessageID.random(unixMilliseconds: Clock.unixMilliseconds())
                socket.send(ClientFrame(.send(.init(cid: cid, target: .conversation(conversation), content: content))))
            }
            guard unanswered == 0 else { return }
            (socket.onFrame, socket.onClose) = (nil, nil)
            socket.close()
            promise.succeed()
        }
        socket.onFrame = { frame in
            switch frame.operation {
            case .ready: go()
            case .sent:
                self.unanswered -= 1
                go()
            case .error(let failure):
                socket.onClose = nil
                socket.close()
                self.promise.fail(LoadError("a message was refused: \(failure.message)"))
            default: break
            }
        }
        socket.onClose = { self.promise.fail(ClientError(.connectionClosed, "closed with \($0 ?? 0) \($1)")) }
        socket.send(ClientFrame(.auth(.init(token: seat.token, device: seat.device))))
    }
}
