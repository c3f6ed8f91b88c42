import Foundation
import NIOCore
import ParleyClient
import ParleyWire

/// A connection to the echo gateway: HTTP/1.1 until the upgrade, then a session.
final class EchoHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let store: EchoStore
    private(set) var context: ChannelHandlerContext?
    private var input = ByteBuffer()
    private var decoder: WebSocketDecoder?
    private var user: UserID?
    private var output = ByteBuffer()

    init(store: EchoStore) {
        self.store = store
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        if let user, store.sessions[user] === self { store.sessions[user] = nil }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        if decoder == nil {
            input.writeBuffer(&bytes)
            readRequests()
            if decoder != nil { decoder?.feed(input) }
        } else {
            decoder?.feed(bytes)
        }
        while let message = try? decoder?.next() { receive(message) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        flush()
    }

    func send(_ operation: ServerFrame.Operation) {
        let isIdle = output.readableBytes == 0
        WebSocketFrame.write(ServerFrame(operation), into: &output)
        // What this loop's turn brings for a session leaves together.
        if isIdle { context?.eventLoop.assumeIsolated().execute { self.flush() } }
    }

    private func flush() {
        guard output.readableBytes > 0, let context else { return }
        context.writeAndFlush(wrapOutboundOut(output), promise: nil)
        output = ByteBuffer()
    }

    private func receive(_ message: WebSocketMessage) {
        switch message {
        case .close:
            close(.normal)
        case .text(let text):
            guard let frame = try? ClientFrame.decode(text) else { return }
            receive(frame.operation)
        case .binary, .ping, .pong:
            break
        }
    }

    private func close(_ code: CloseCode) {
        WebSocketFrame.writeClose(code, into: &output)
        flush()
        context?.close(promise: nil)
    }

    private func receive(_ operation: ClientFrame.Operation) {
        switch operation {
        case .auth(let auth):
            guard let user = UserID(auth.token) else { return }
            if auth.resume != nil { store.returns += 1 }
            if case .ignore(let count) = store.fault, 1...count ~= store.returns { return }
            self.user = user
            store.sessions[user]?.close(.replaced)
            store.sessions[user] = self
            let queue = store.queues[user] ?? []
            var mode = ServerFrame.Mode.live
            var missed: [EchoStore.Entry] = []
            if let resume = auth.resume {
                if case .resync = store.fault {
                    mode = .resync
                } else {
                    missed = queue.filter { $0.q > resume.q }
                    mode = missed.isEmpty ? .live : .replay
                }
            }
            send(
                .ready(
                    .init(
                        user: user,
                        session: "echo",
                        epoch: "echo",
                        head: Int64(queue.count),
                        mode: mode,
                        now: Clock.unixMilliseconds()
                    )
                )
            )
            guard !missed.isEmpty else { return }
            for entry in missed { send(.event(q: entry.q, entry.event)) }
            send(.live(q: Int64(queue.count)))
        case .send(let frame):
            guard let user else { return }
            if let sent = store.commit(frame, from: user) {
                send(.sent(sent))
            } else {
                send(.error(.init(.invalid, "no such conversation", cid: FrameID(frame.cid))))
            }
        default:
            break
        }
    }
}

// HTTP, as far as this package's own client speaks it.
extension EchoHandler {
    private func readRequests() {
        while decoder == nil, let request = EchoRequest(from: &input) {
            if let key = request.headers["sec-websocket-key"] {
                decoder = WebSocketDecoder(role: .server)
                write(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        + "Sec-WebSocket-Protocol: parley.v1\r\n"
                        + "Sec-WebSocket-Accept: \(WebSocketHandshake.accept(key: key))\r\n\r\n"
                )
            } else if request.path == "/v1/signup" {
                store.signUps += 1
                if case .limit(let wait) = store.fault, store.signUps.isMultiple(of: 2) {
                    answer("429 Too Many Requests", "{\"code\":\"rate_limited\",\"retry_ms\":\(wait)}")
                    continue
                }
                let user = UserID.random()
                // The token is the user's id: nothing here is guarded.
                answer(
                    "201 Created",
                    "{\"user\":{\"id\":\"\(user)\",\"username\":\"\(user)\"},\"access_token\":\"\(user)\","
                        + "\"refresh_token\":\"none\",\"expires_in\":600}"
                )
            } else if request.path.hasPrefix("/v1/sync?") {
                answer("200 OK", sync(request))
            } else if request.path.hasPrefix("/v1/conversations?") {
                answer("200 OK", "{\"conversations\":[],\"next\":null}")
            } else if request.path.hasPrefix("/v1/conversations/") {
                store.historiesAsked += 1
                let json = history(request)
                if case .stall(let time) = store.fault {
                    context?.eventLoop.assumeIsolated().scheduleTask(in: time) {
                        self.answer("200 OK", json)
                        self.flush()
                    }
                } else {
                    answer("200 OK", json)
                }
            } else {
                answer("404 Not Found", "{\"code\":\"not_found\"}")
            }
        }
    }

    private func answer(_ status: String, _ json: String) {
        write(
            "HTTP/1.1 \(status)\r\nContent-Type: application/json\r\nContent-Length: \(json.utf8.count)\r\n\r\n\(json)"
        )
    }

    private func write(_ text: String) {
        output.writeString(text)
    }

    /// `/v1/sync?limit=L&wait=W&epoch=echo&q=Q`, answered at once
    private func sync(_ request: EchoRequest) -> String {
        let user = request.headers["authorization"].flatMap { UserID($0.dropFirst("Bearer ".count)) }
        let queue = user.flatMap { store.queues[$0] } ?? []
        let q = request.parameter("q").map(Int64.init) ?? Int64(queue.count)
        var json = ByteBuffer()
        json.beginJSONObject()
        json.writeJSONField("epoch", "echo")
        json.writeJSONField("head", queue.count)
        json.writeJSONKey("events")
        json.beginJSONArray()
        for entry in queue.dropFirst(Int(q)).prefix(request.parameter("limit") ?? 50) {
            json.beginJSONElement()
            ServerFrame(.event(q: entry.q, entry.event)).encode(into: &json)
        }
        json.endJSONArray()
        json.writeJSONField("resync", false)
        json.endJSONObject()
        return String(buffer: json)
    }

    /// `/v1/conversations/ID/messages?limit=L&after_seq=S`, or `after=MID`
    private func history(_ request: EchoRequest) -> String {
        let parts = request.path.split(separator: "/")
        let parameter = request.parameter
        let all = ConversationID(parts[2]).flatMap { store.histories[$0] } ?? []
        let seq = Int64(parameter("after_seq") ?? 0)
        let mid = UInt64(parameter("after") ?? 0)
        let rest = all.filter { $0.seq ?? 0 > seq && $0.mid?.rawValue ?? 0 > mid }
        var json = ByteBuffer()
        json.beginJSONObject()
        json.writeJSONKey("messages")
        json.beginJSONArray()
        for event in rest.prefix(parameter("limit") ?? 50) {
            json.beginJSONElement()
            event.encode(into: &json)
        }
        json.endJSONArray()
        json.writeJSONField("more", rest.count > parameter("limit") ?? 50)
        json.endJSONObject()
        return String(buffer: json)
    }
}

/// A request, its body dropped.
private struct EchoRequest {
    let path: String
    var headers: [String: String] = [:]

    /// A number of the query.
    func parameter(_ name: String) -> Int? {
        let parameters = path.split(whereSeparator: { "?&".contains($0) }).dropFirst()
        return parameters.first { $0.hasPrefix("\(name)=") }.flatMap { Int($0.dropFirst(name.count + 1)) }
    }

    /// Takes a whole request off the front; nil until there is one.
    init?(from input: inout ByteBuffer) {
        let text = String(buffer: input)
        guard let end = text.range(of: "\r\n\r\n") else { return nil }
        var lines = text[..<end.lowerBound].split(separator: "\r\n")[...]
        guard let first = lines.popFirst()?.split(separator: " "), first.count == 3 else { return nil }
        path = String(first[1])
        for line in lines {
            let field = line.split(separator: ":", maxSplits: 1)
            if field.count == 2 { headers[field[0].lowercased()] = field[1].trimmingCharacters(in: .whitespaces) }
        }
        let length = text[..<end.upperBound].utf8.count + (Int(headers["content-length"] ?? "0") ?? 0)
        guard input.readableBytes >= length else { return nil }
        input.moveReaderIndex(forwardBy: length)
    }
}
