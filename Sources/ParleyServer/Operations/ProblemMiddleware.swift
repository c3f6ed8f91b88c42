public import Hummingbird
import Logging
import NIOCore
public import ParleyWire
import PostgresClient

/// Turns every error below it, Hummingbird's own and unknown routes included, into an ``HTTPProblem``'s answer.
///
/// Add it to the router before anything else. What it does not know is logged and answered as `unavailable`: the
/// client's part is the same, to try again later.
public struct ProblemMiddleware: RouterMiddleware {
    public typealias Context = ParleyRequestContext

    private let refused: @Sendable (Request, ErrorCode) -> Void

    /// - Parameter refused: told the code of each answer.
    public init(refused: @escaping @Sendable (Request, ErrorCode) -> Void = { _, _ in }) { self.refused = refused }

    public func handle(
        _ request: Request,
        context: ParleyRequestContext,
        next: (Request, ParleyRequestContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch {
            let problem = Self.problem(for: error, logger: context.logger)
            refused(request, problem.code)
            return try problem.response()
        }
    }

    static func problem(for error: any Error, logger: Logger) -> HTTPProblem {
        switch error {
        case let problem as HTTPProblem:
            return problem
        case let error as HTTPError:
            return problem(status: error.status, message: error.body)
        case is NIOTooManyBytesError:
            return HTTPProblem(.tooLarge, "The body is too large.")
        case is CancellationError:
            // The client is gone; nobody reads this.
            return HTTPProblem(.unavailable, "The request was cancelled.")
        case let error as PostgresError where error.code == .acquireTimeout:
            logger.warning("no free database connection in time")
            return HTTPProblem(.overloaded, "The database is busy.")
        case let error as PostgresError:
            logger.error("database error", metadata: ["error": "\(error)"])
            return HTTPProblem(.unavailable, "The database cannot answer now.")
        default:
            logger.error("request failed", metadata: ["error": "\(error)"])
            return HTTPProblem(.unavailable, "The request could not be completed.")
        }
    }

    private static func problem(status: HTTPResponse.Status, message: String?) -> HTTPProblem {
        switch status.code {
        case 401: HTTPProblem(.unauthorized, message ?? "Sign in first.")
        case 403: HTTPProblem(.forbidden, message ?? "This is not allowed.")
        case 404, 405: HTTPProblem(.notFound, message ?? "There is nothing here.")
        case 409: HTTPProblem(.conflict, message ?? "This is in conflict with what exists.")
        case 413: HTTPProblem(.tooLarge, message ?? "The body is too large.")
        case 422: HTTPProblem(.invalid, message ?? "A field is not valid.")
        case 429: HTTPProblem(.rateLimited, message ?? "Too many requests.")
        case 400..<500: HTTPProblem(.badFrame, message ?? "The request is malformed.")
        default: HTTPProblem(.unavailable, message ?? "The request could not be completed.")
        }
    }
}
