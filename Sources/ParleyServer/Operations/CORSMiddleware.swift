import HTTPTypes
import Hummingbird

/// Lets pages of the allowed origins use the API (Fetch standard, "CORS protocol"). There are no cookies, so no
/// credentials are allowed.
struct CORSMiddleware: RouterMiddleware {
    typealias Context = ParleyRequestContext

    let origins: OriginList

    func handle(
        _ request: Request,
        context: ParleyRequestContext,
        next: (Request, ParleyRequestContext) async throws -> Response
    ) async throws -> Response {
        guard let origin = request.headers[.origin], origins.allows(origin) else {
            return try await next(request, context)
        }
        if request.method == .options, request.headers[.accessControlRequestMethod] != nil {
            return Response(
                status: .noContent,
                headers: [
                    .accessControlAllowOrigin: origin,
                    .accessControlAllowMethods: "GET, POST, PUT, PATCH, DELETE",
                    .accessControlAllowHeaders:
                        "authorization, content-type, idempotency-key, if-none-match",
                    .accessControlMaxAge: "600",
                    .vary: "Origin",
                ]
            )
        }
        var response = try await next(request, context)
        response.headers[.accessControlAllowOrigin] = origin
        response.headers[.accessControlExposeHeaders] = "etag, retry-after"
        response.headers[.vary] = "Origin"
        return response
    }
}
