import HTTPTypes
import NIOCore
import ParleyCore
import ParleyWire

/// Answers in HTTP/1.1, as bytes.
enum SuggestResponse {
    private static let exposed = "access-control-expose-headers: etag, retry-after\r\n"

    /// What the cache has, without a look at anything else.
    static func ok(
        _ question: SuggestQuestion,
        _ list: SuggestGeneration,
        _ tail: ByteBuffer,
        _ origin: String?,
        _ engine: SuggestEngine,
        into bytes: inout ByteBuffer
    ) {
        bytes.writeStaticString("HTTP/1.1 200 OK\r\n")
        headers(engine.tag(list, question.format), engine.cacheControl, question.format, origin, engine, into: &bytes)
        engine.scratch.clear()
        SuggestBody.begin(question.text, question.format, into: &engine.scratch)
        bytes.writeStaticString("content-length: ")
        bytes.writeDecimal(engine.scratch.readableBytes + tail.readableBytes)
        bytes.writeStaticString("\r\n\r\n")
        bytes.writeImmutableBuffer(engine.scratch)
        bytes.writeImmutableBuffer(tail)
    }

    /// - Returns: the status.
    static func write(
        _ result: Result<SuggestReply, HTTPProblem>,
        _ origin: String?,
        _ engine: SuggestEngine,
        into bytes: inout ByteBuffer
    ) -> Int {
        switch result {
        case .success(let reply):
            bytes.writeStaticString(reply.body == nil ? "HTTP/1.1 304 Not Modified\r\n" : "HTTP/1.1 200 OK\r\n")
            headers(reply.tag, reply.cacheControl, reply.format, origin, engine, into: &bytes)
            if let body = reply.body {
                bytes.writeString("content-length: \(body.readableBytes)\r\n\r\n")
                bytes.writeImmutableBuffer(body)
            } else {
                bytes.writeStaticString("\r\n")
            }
            return reply.body == nil ? 304 : 200
        case .failure(let problem):
            var head = ByteBuffer()
            head.writeStaticString("date: ")
            head.writeImmutableBuffer(engine.date)
            head.writeStaticString("\r\nserver: parley\r\n")
            if let origin { head.writeString("access-control-allow-origin: \(origin)\r\n\(exposed)vary: Origin\r\n") }
            bytes.writeImmutableBuffer(problem.response(with: head))
            return problem.status.code
        }
    }

    private static func headers(
        _ tag: String,
        _ cacheControl: String,
        _ format: SuggestQuestion.Format,
        _ origin: String?,
        _ engine: SuggestEngine,
        into bytes: inout ByteBuffer
    ) {
        bytes.writeStaticString("content-type: ")
        bytes.writeString(SuggestReply.contentType(format))
        bytes.writeStaticString("\r\netag: ")
        bytes.writeString(tag)
        bytes.writeStaticString("\r\ncache-control: ")
        bytes.writeString(cacheControl)
        bytes.writeStaticString("\r\ndate: ")
        bytes.writeImmutableBuffer(engine.date)
        bytes.writeStaticString("\r\nserver: parley\r\n")
        if let origin {
            bytes.writeStaticString("access-control-allow-origin: ")
            bytes.writeString(origin)
            bytes.writeStaticString("\r\n")
            bytes.writeString(exposed)
            bytes.writeStaticString("vary: Origin, Accept\r\n")
        } else {
            bytes.writeStaticString("vary: Accept\r\n")
        }
    }
}
