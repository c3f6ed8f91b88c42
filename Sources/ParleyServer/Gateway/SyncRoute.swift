import HTTPTypes
import Hummingbird
import NIOCore
import ParleyWire

/// `GET /v1/sync`: events after a cursor, at once or as soon as there are some. Nothing stays in the gateway between two
/// polls.
struct SyncRoute {
    let services: GatewayServices
    let hubs: SessionHubs

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        // Whether the login was revoked is asked together with the queue.
        let authenticator = Authenticator(tokens: services.tokens, revocations: nil, admission: services.admission)
        router.group().add(middleware: authenticator).get("/v1/sync") { request, context in
            let question = try SyncQuestion(request.uri.queryParameters, of: context.requireIdentity())
            let answer = try await Poll.ask(question, hubs[context.channel.eventLoop], services, on: context.channel)
            var response = Response(json: answer.json)
            response.headers[.cacheControl] = "no-store"
            if services.isDraining { response.headers[.connection] = "close" }
            return response
        }
    }
}

/// What a poll asks for.
struct SyncQuestion: Sendable {
    /// In seconds.
    static let longestWait = 30

    let identity: Identity
    /// nil begins at the head.
    let cursor: ClientFrame.Cursor?
    /// Keeps a place in the queue; nil for a reader that leaves no trace.
    let device: DeviceID?
    /// Events of one answer, at most.
    let limit: Int
    let wait: TimeAmount

    /// Whoever has no cursor yet is told at once where it begins.
    var waits: Bool { cursor != nil && wait > .zero }

    /// - Parameter parameters: of the query. An empty one counts as absent, which is handy in scripts.
    /// - Throws: `invalid`, naming the parameter.
    init(_ parameters: Parameters, of identity: Identity) throws(HTTPProblem) {
        func given(_ name: Substring) -> Substring? { parameters[name].flatMap { $0.isEmpty ? nil : $0[...] } }
        func number(_ name: Substring, in range: ClosedRange<Int64>) throws(HTTPProblem) -> Int64? {
            guard let text = given(name) else { return nil }
            guard let number = Int64(text), range.contains(number) else {
                throw .invalid(String(name), "expected a number from \(range.lowerBound) to \(range.upperBound).")
            }
            return number
        }
        self.identity = identity
        let q = try number("q", in: 0...(1 << 53 - 1))
        switch (given("epoch"), q) {
        case (let epoch?, let q?): cursor = ClientFrame.Cursor(epoch: String(epoch), q: q)
        case (nil, nil): cursor = nil
        case (nil, _?): throw .invalid("epoch", "is missing: a cursor is epoch and q.")
        case (_?, nil): throw .invalid("q", "is missing: a cursor is epoch and q.")
        }
        device = try given("device").map { (name) throws(HTTPProblem) in
            guard let device = DeviceID(name) else {
                throw .invalid("device", "expected 1-64 of A-Z, a-z, 0-9, ., _ and -.")
            }
            return device
        }
        limit = Int(try number("limit", in: 1...200) ?? 50)
        wait = .seconds(try number("wait", in: 0...Int64(Self.longestWait)) ?? 0)
    }
}

/// What a poll answers.
struct SyncAnswer: Sendable {
    let epoch: String
    let head: Int64
    var events: [(q: Int64, event: ByteBuffer)] = []
    /// Events after the client's cursor are not all there: it asks history, and goes on from `head`.
    var isResync = false

    /// The events' own bytes are copied, as for a socket.
    var json: ByteBuffer {
        let size = events.reduce(96 + epoch.utf8.count) { $0 + $1.event.readableBytes + 48 }
        var buffer = ByteBufferAllocator().buffer(capacity: size)
        buffer.beginJSONObject()
        buffer.writeJSONField("epoch", epoch)
        buffer.writeJSONField("head", head)
        buffer.writeJSONKey("events")
        buffer.beginJSONArray()
        for (q, event) in events {
            buffer.beginJSONElement()
            EventFrame.write(q: q, event, into: &buffer)
        }
        buffer.endJSONArray()
        buffer.writeJSONField("resync", isResync)
        buffer.endJSONObject()
        return buffer
    }
}
