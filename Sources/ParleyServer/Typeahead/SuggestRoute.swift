import HTTPTypes
import Hummingbird
import NIOCore
import ParleyCore
import ParleyWire

/// `GET /v1/suggest` for those whom `SuggestChannelHandler` lets pass: where a sign-in is needed, and whatever is
/// unusual about a request.
struct SuggestRoute {
    let hub: SuggestHub
    let admission: Admission
    let authenticator: Authenticator

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        switch hub.engines[0].configuration.access {
        case .everybody:
            router.get("/v1/suggest") { request, context in
                try admission.admitStranger(.suggest, request, context)
                return try await answer(request, context)
            }
        case .signedIn:
            router.group().add(middleware: authenticator).get("/v1/suggest") { request, context in
                try await answer(request, context)
            }
        }
    }

    private func answer(_ request: Request, _ context: ParleyRequestContext) async throws -> Response {
        let format = SuggestReply.format(accepting: request.headers[.accept] ?? "")
        let question = try SuggestQuestion(query: Array((request.uri.query ?? "").utf8), format: format)
        let engine = hub[context.channel.eventLoop]
        let condition = request.headers[.ifNoneMatch]
        let promise = engine.eventLoop.makePromise(of: SuggestReply.self)
        engine.eventLoop.execute {
            SuggestReply.make(question, ifNoneMatch: condition, engine) {
                promise.completeWith($0.mapError { $0 as any Error })
            }
        }
        let reply = try await promise.futureResult.get()
        var headers: HTTPFields = [.eTag: reply.tag, .cacheControl: reply.cacheControl, .vary: "Accept"]
        guard let body = reply.body else { return Response(status: .notModified, headers: headers) }
        headers[.contentType] = reply.contentType
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: body))
    }
}
