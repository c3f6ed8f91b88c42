import HTTPTypes
import Hummingbird
import NIOCore
import ParleyWire
import RedisClient

/// Sending and reading without a socket. All routes need a sign-in.
struct MessageRoutes {
    let services: GatewayServices
    let authenticator: Authenticator

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        let signedIn = router.group().add(middleware: authenticator)
        signedIn.post("/v1/conversations/:id/messages") { request, context in
            try await commit(request, context) { path, cid, conversation, user in
                let body = try await request.body.collect(upTo: services.configuration.maximumFrame)
                return try path.admit(MessageContent.decode(body), cid, in: conversation, from: user)
            }
        }
        signedIn.patch("/v1/conversations/:id/messages/:mid") { request, context in
            let mid = try context.messageID()
            return try await commit(request, context) { path, cid, conversation, user in
                let body = try await request.body.collect(upTo: services.configuration.maximumFrame)
                let edit = MessageChange.edit(body: try MessageContent.decode(body).body)
                return try path.admit(edit, of: mid, cid, in: conversation, from: user)
            }
        }
        signedIn.delete("/v1/conversations/:id/messages/:mid") { request, context in
            let mid = try context.messageID()
            return try await commit(request, context) { path, cid, conversation, user in
                try path.admit(.delete, of: mid, cid, in: conversation, from: user)
            }
        }
        signedIn.post("/v1/conversations/:id/read") { request, context in
            let (user, conversation) = try context.conversation()
            let position: ReadPosition = try await request.decodeJSON()
            guard (0..<(1 << 53)).contains(position.seq) else {
                throw HTTPProblem.invalid("seq", "expected a sequence number.")
            }
            try await HTTPProblem.explaining {
                _ = try await services.conversations.requireMember(user, of: conversation)
                if !conversation.isDirect { _ = try await services.conversations.prepareGroup(conversation, for: user) }
            }
            try await read(conversation, position.seq, user)
            return Response(status: .noContent)
        }
    }

    /// Goes the way of a socket's send, with its guarantees.
    private func commit(
        _ request: Request,
        _ context: ParleyRequestContext,
        admit: (SendPath, ClientMessageID, ConversationID, UserID) async throws -> SendRequest
    ) async throws -> Response {
        let (user, conversation) = try context.conversation()
        let cid = try request.idempotencyKey()
        let path = SendPath(services: services)
        do {
            let send = try await admit(path, cid, conversation, user)
            let result = try await path.commit(send)
            services.http.committed(result)
            var json = ByteBuffer()
            ServerFrame.Sent(result, of: send).encode(into: &json)
            return Response(status: result.isRepeat || send.change != nil ? .ok : .created, json: json)
        } catch let error as FrameError {
            throw HTTPProblem(error.code, error.message)
        } catch let refusal as SendRefusal {
            let retry = refusal.retryMilliseconds.map { Int($0) }
            throw HTTPProblem(refusal.code, refusal.message, retryMilliseconds: retry)
        }
    }

    private struct ReadPosition: Decodable {
        let seq: Int64
    }

    private func read(_ conversation: ConversationID, _ seq: Int64, _ user: UserID) async throws {
        let (epoch, queueCap) = (services.epochs.epoch, services.commit.queueCap)
        let receipt = Receipt(conversation: conversation, user: user, kind: .read, seq: seq)
        let command =
            receipt.command(epoch: epoch, queueCap: queueCap)
            ?? RedisFunctions.readGroup(conversation, user, seq, epoch: epoch, queueCap: queueCap)
        guard let answer = try? await services.redis.send(command, repeatable: true),
            answer.string?.hasPrefix("epoch") == false
        else {
            services.learnEpoch()
            throw HTTPProblem(.unavailable, "The sync queues cannot be reached.")
        }
        if !conversation.isDirect { services.groupReceipts.read(answer, by: user, in: conversation) }
    }
}

extension Request {
    /// The cid of a send.
    fileprivate func idempotencyKey() throws(HTTPProblem) -> ClientMessageID {
        guard let text = headers[.idempotencyKey] else {
            throw HTTPProblem(.badFrame, "Idempotency-Key: is missing.")
        }
        guard let cid = ClientMessageID(text) else {
            throw HTTPProblem.invalid("Idempotency-Key", "expected a UUIDv7.")
        }
        return cid
    }
}

extension ParleyRequestContext {
    fileprivate func messageID() throws -> MessageID {
        guard let mid = MessageID(try parameters.require("mid")) else {
            throw HTTPProblem(.notFound, "There is no such message.")
        }
        return mid
    }
}

extension HTTPField.Name {
    fileprivate static let idempotencyKey = Self("Idempotency-Key")!
}
