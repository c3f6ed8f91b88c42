import NIOCore
import ParleyCore
import ParleyWire

/// What a question over HTTP is answered.
struct SuggestReply: Sendable {
    /// As the ETag header has it.
    let tag: String
    let format: SuggestQuestion.Format
    let cacheControl: String
    /// nil: nothing has changed since the tag that the client has.
    let body: ByteBuffer?

    var contentType: String { Self.contentType(format) }

    static func contentType(_ format: SuggestQuestion.Format) -> String {
        format == .json ? "application/json" : "application/x-suggestions+json"
    }

    static func format(accepting accept: String) -> SuggestQuestion.Format {
        accept.contains("x-suggestions+json") ? .browser : .json
    }

    /// On the engine's event loop.
    ///
    /// - Parameters:
    ///   - ifNoneMatch: the header of that name.
    ///   - completion: called at once for what is known. A failure is `invalid` or `unavailable`.
    static func make(
        _ question: SuggestQuestion,
        ifNoneMatch: String?,
        _ engine: SuggestEngine,
        _ completion: @escaping (Result<SuggestReply, HTTPProblem>) -> Void
    ) {
        let list = engine.list(for: question.locale)
        let tag = engine.tag(list, question.format)
        func reply(_ body: ByteBuffer?) -> SuggestReply {
            SuggestReply(
                tag: tag,
                format: question.format,
                cacheControl: list == nil ? "no-cache" : engine.cacheControl,
                body: body
            )
        }
        func whole(_ tail: ByteBuffer) -> SuggestReply {
            var body = ByteBufferAllocator().buffer(capacity: question.text.count + tail.readableBytes + 16)
            SuggestBody.begin(question.text, question.format, into: &body)
            body.writeImmutableBuffer(tail)
            return reply(body)
        }
        do throws(SuggestText.Problem) {
            guard let list else {
                _ = try SuggestText(utf8: question.text, .prefix)
                var tail = ByteBuffer()
                if question.format == .json {
                    SuggestBody.json([], nil, into: &tail)
                } else {
                    SuggestBody.browser([], into: &tail)
                }
                return completion(.success(whole(tail)))
            }
            if let ifNoneMatch, ifNoneMatch.contains(tag) {
                engine.metrics.count(.unchanged)
                return completion(.success(reply(nil)))
            }
            try engine.complete(question.text, in: list) { result in
                completion(
                    result.map { whole($0.tail(question.limit, question.format, engine.filter)) }
                )
            }
        } catch {
            completion(.failure(error.problem))
        }
    }
}
