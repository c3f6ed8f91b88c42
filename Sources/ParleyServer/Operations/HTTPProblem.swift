public import HTTPTypes
public import Hummingbird
public import ParleyWire

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The one error of the HTTP side: answered as RFC 9457 `application/problem+json` with `code`.
public struct HTTPProblem: HTTPResponseError, Equatable {
    public let code: ErrorCode
    /// For people: what is wrong, and with which field. Never quotes secrets.
    public let detail: String
    /// When trying again makes sense.
    public let retryMilliseconds: Int?

    /// - Parameter retryMilliseconds: codes that ask to try again get a second where none is given.
    public init(_ code: ErrorCode, _ detail: String, retryMilliseconds: Int? = nil) {
        self.code = code
        self.detail = detail
        switch code {
        case .rateLimited, .overloaded, .unavailable: self.retryMilliseconds = retryMilliseconds ?? 1000
        default: self.retryMilliseconds = retryMilliseconds
        }
    }

    public var status: HTTPResponse.Status { Self.statuses[code.httpStatus] ?? .internalServerError }

    /// With their reason phrases, which are a problem's title where its type is `about:blank`.
    private static let statuses: [Int: HTTPResponse.Status] = Dictionary(
        uniqueKeysWithValues: [
            .badRequest, .unauthorized, .forbidden, .notFound, .conflict, .gone, .contentTooLarge,
            .unprocessableContent,
            .tooManyRequests, .serviceUnavailable,
        ].map { ($0.code, $0) }
    )

    public func response(from request: Request, context: some RequestContext) throws -> Response {
        try response()
    }

    func response() throws -> Response {
        Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: try body())))
    }

    /// For a connection that nothing else is written to.
    var wholeResponse: ByteBuffer { response(with: ByteBuffer(string: "Connection: close\r\n")) }

    /// The answer's bytes.
    /// - Parameter fields: more lines of the head.
    func response(with fields: ByteBuffer) -> ByteBuffer {
        let body = (try? body()) ?? Data()
        var buffer = ByteBuffer(string: "HTTP/1.1 \(status)\r\n")
        buffer.writeImmutableBuffer(fields)
        for field in headers { buffer.writeString("\(field.name): \(field.value)\r\n") }
        buffer.writeString("Content-Length: \(body.count)\r\n\r\n")
        buffer.writeBytes(body)
        return buffer
    }

    private var headers: HTTPFields {
        var headers: HTTPFields = [.contentType: "application/problem+json"]
        if let retryMilliseconds {
            headers[.retryAfter] = String((retryMilliseconds + 999) / 1000)
        }
        if code == .unauthorized {
            headers[.wwwAuthenticate] = "Bearer"
        }
        return headers
    }

    private func body() throws -> Data {
        let body = Body(
            title: status.reasonPhrase,
            status: status.code,
            detail: detail,
            code: code.rawValue,
            retryMilliseconds: retryMilliseconds
        )
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(body)
    }

    private struct Body: Encodable {
        var type = "about:blank"
        let title: String
        let status: Int
        let detail: String
        let code: String
        let retryMilliseconds: Int?

        enum CodingKeys: String, CodingKey {
            case type, title, status, detail, code
            case retryMilliseconds = "retry_ms"
        }
    }
}
