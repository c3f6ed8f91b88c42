import HTTPTypes
import Hummingbird
import ParleyWire

/// What names a request in the log: the client's `X-Request-ID`, or one made here. The answer has it in the same header.
enum RequestID {
    /// Of the request that the running task belongs to.
    @TaskLocal static var current: String?

    /// - Parameter given: by the client, or a proxy; taken as it is if it is short and plain.
    static func make(given: String?) -> String {
        if let given, (1...64).contains(given.utf8.count), given.utf8.allSatisfy(isPlain) { return given }
        return randomName()
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
            true
        default: false
        }
    }
}

/// Gives each request its name. Stands before everything else.
struct RequestIDMiddleware: RouterMiddleware {
    typealias Context = ParleyRequestContext

    func handle(
        _ request: Request,
        context: ParleyRequestContext,
        next: (Request, ParleyRequestContext) async throws -> Response
    ) async throws -> Response {
        let id = RequestID.make(given: request.headers[.requestID])
        return try await RequestID.$current.withValue(id) {
            var response = try await next(request, context)
            response.headers[.requestID] = id
            return response
        }
    }
}

extension HTTPField.Name {
    static let requestID = Self("X-Request-ID")!
}
