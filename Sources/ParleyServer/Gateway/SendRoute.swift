import HTTPTypes
import Hummingbird
import NIOCore
import ParleyWire

/// `POST /v1/conversations/{id}/messages`: a send without a socket, on the path of a socket's. The header
/// Idempotency-Key is the cid.
struct SendRoute {
    let services: GatewayServices
    let authenticator: Authenticator

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        router.group().add(middleware: authenticator).post("/v1/conversations/:id/messages") { request, context in
            let (user, conversation) = try context.conversation()
            let cid = try request.idempotencyKey()
            let path = SendPath(services: services)
            do {
                let body = try await request.body.collect(upTo: services.configuration.maximumFrame)
                let send = try path.admit(MessageContent.decode(body), cid, in: conversation, from: user)
                let result = try await path.commit(send)
                var json = ByteBuffer()
                ServerFrame.Sent(result, of: send).encode(into: &json)
                return Response(status: result.isRepeat ? .ok : .created, json: json)
            } catch let error as FrameError {
                throw HTTPProblem(error.code, error.message)
            } catch let refusal as SendRefusal {
                throw HTTPProblem(
                    refusal.code,
                    refusal.message,
                    retryMilliseconds: refusal.retryMilliseconds.map { Int($0) }
                )
            }
        }
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

extension HTTPField.Name {
    fileprivate static let idempotencyKey = Self("Idempotency-Key")!
}
