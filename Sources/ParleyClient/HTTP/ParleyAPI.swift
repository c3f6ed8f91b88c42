#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif
public import NIOCore
public import NIOHTTP1
import ParleyWire

/// The JSON calls of one gateway, over a few kept-alive connections. Safe to share between tasks.
public struct ParleyAPI: Sendable {
    public struct Response: Sendable {
        public var status: Int
        public var body: ByteBuffer
    }

    public let address: GatewayAddress
    private let pool: HTTPConnectionPool
    private let timeout: TimeAmount

    /// - Parameters:
    ///   - connections: at most; further calls wait for their turn.
    ///   - timeout: of one call, without its turn in line.
    public init(
        _ address: GatewayAddress,
        group: any EventLoopGroup,
        connections: Int = 8,
        timeout: TimeAmount = .seconds(40)
    ) {
        self.address = address
        self.timeout = timeout
        pool = HTTPConnectionPool(address: address, group: group, limit: connections)
    }

    /// Closes the idle connections; calls in flight end theirs, later ones throw `closed`.
    public func shutdown() async {
        await pool.shutdown()
    }

    /// One call, whatever its status. A GET whose kept-alive connection turns out to be gone is repeated once.
    /// - Parameters:
    ///   - path: with its query, percent-encoded.
    ///   - json: the body, sent as `application/json`.
    public func request(
        _ method: HTTPMethod,
        _ path: String,
        token: String? = nil,
        json: ByteBuffer? = nil,
        headers: [(String, String)] = []
    ) async throws(ClientError) -> Response {
        var head = HTTPRequestHead(version: .http1_1, method: method, uri: path)
        head.headers = HTTPHeaders(headers)
        head.headers.add(name: "host", value: address.authority)
        if let token { head.headers.add(name: "authorization", value: "Bearer \(token)") }
        if json != nil { head.headers.add(name: "content-type", value: "application/json") }
        if json != nil || method != .GET {
            head.headers.add(name: "content-length", value: String(json?.readableBytes ?? 0))
        }
        while true {
            let (connection, isReused) = try await pool.acquire()
            do throws(ClientError) {
                let answer = try await connection.send(head, json, timeout: timeout)
                await pool.release(connection, reusable: answer.keepsAlive)
                return Response(status: answer.status, body: answer.body)
            } catch {
                await pool.release(connection, reusable: false)
                guard isReused, method == .GET, error.code == .connectionClosed else {
                    throw ClientError(error.code, "\(address): \(error.message)")
                }
            }
        }
    }

    /// As ``request(_:_:token:json:headers:)``, for a 2xx answer, decoded.
    /// - Throws: `refused` with the problem's code for any other status, `badAnswer` for JSON that does not fit.
    public func call<Answer: Decodable>(
        _ method: HTTPMethod,
        _ path: String,
        as type: Answer.Type = Answer.self,
        token: String? = nil,
        json: ByteBuffer? = nil,
        headers: [(String, String)] = []
    ) async throws(ClientError) -> Answer {
        try decode(try await accepted(method, path, token: token, json: json, headers: headers), of: path)
    }

    func decode<Answer: Decodable>(_ body: ByteBuffer, of path: String) throws(ClientError) -> Answer {
        do {
            return try JSONDecoder().decode(Answer.self, from: Data(body.readableBytesView))
        } catch {
            throw ClientError(.badAnswer, "\(address) \(path): \(error)")
        }
    }

    /// The body of a 2xx answer.
    /// - Throws: `refused` with the problem's code for any other status.
    @discardableResult
    func accepted(
        _ method: HTTPMethod,
        _ path: String,
        token: String? = nil,
        json: ByteBuffer? = nil,
        headers: [(String, String)] = []
    ) async throws(ClientError) -> ByteBuffer {
        let answer = try await request(method, path, token: token, json: json, headers: headers)
        guard 200..<300 ~= answer.status else {
            let problem = try? JSONDecoder().decode(Problem.self, from: Data(answer.body.readableBytesView))
            let detail = problem?.detail ?? problem?.title ?? "no detail"
            throw ClientError(
                .refused(problem?.code.flatMap { ErrorCode(rawValue: $0) }),
                "\(address) \(method) \(path): \(answer.status) \(detail)",
                retryMilliseconds: problem?.retryMilliseconds
            )
        }
        return answer.body
    }

    static func json(_ fields: (inout ByteBuffer) -> Void) -> ByteBuffer {
        var body = ByteBuffer()
        body.beginJSONObject()
        fields(&body)
        body.endJSONObject()
        return body
    }

    private struct Problem: Decodable {
        var code: String?
        var title: String?
        var detail: String?
        var retryMilliseconds: Int64?

        enum CodingKeys: String, CodingKey {
            case code, title, detail
            case retryMilliseconds = "retry_ms"
        }
    }
}
