import HTTPTypes
public import Hummingbird
public import ParleyWire

/// Where revoked logins are remembered so that every gateway knows at once (Redis).
///
/// A revocation must be remembered for an access token's lifetime: by then every token of the login has expired, and
/// its refresh tokens are already gone.
public protocol LoginRevocations: Sendable {
    /// Returns once no gateway accepts the login any more; its sockets are closed soon after. Repeating it is harmless.
    func revoke(user: UserID, login: LoginID) async throws
    func isRevoked(user: UserID, login: LoginID) async throws -> Bool
}

/// Lets only requests with a valid access token through, and sets ``ParleyRequestContext/identity``.
public struct Authenticator: RouterMiddleware {
    public typealias Context = ParleyRequestContext

    private let tokens: AccessTokens
    private let revocations: (any LoginRevocations)?
    private let admission: Admission?

    /// - Parameters:
    ///   - revocations: nil where a login that was just revoked may come back, as to log out again.
    ///   - admission: limits what a user may ask for; nil where nothing does.
    init(tokens: AccessTokens, revocations: (any LoginRevocations)?, admission: Admission? = nil) {
        self.tokens = tokens
        self.revocations = revocations
        self.admission = admission
    }

    public func handle(
        _ request: Request,
        context: ParleyRequestContext,
        next: (Request, ParleyRequestContext) async throws -> Response
    ) async throws -> Response {
        guard let header = request.headers[.authorization] else {
            throw HTTPProblem(.unauthorized, "An access token is needed: Authorization: Bearer <token>.")
        }
        let parts = header.split(separator: " ")
        guard parts.count == 2, parts[0].lowercased() == "bearer",
            let identity = tokens.verify(String(parts[1]))
        else {
            throw HTTPProblem(.unauthorized, "The access token is not valid, or no longer.")
        }
        try await admission?.admit(request, of: identity.user)
        if let revocations, try await revocations.isRevoked(user: identity.user, login: identity.login) {
            throw HTTPProblem(.unauthorized, "This sign-in was ended.")
        }
        var context = context
        context.identity = identity
        return try await next(request, context)
    }
}
