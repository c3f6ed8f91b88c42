import HTTPTypes
public import Hummingbird
import ParleyWire
import PostgresClient

/// Signing up, in and out, and new tokens for old.
public struct AccountRoutes: Sendable {
    private let accounts: Accounts

    public init(accounts: Accounts) {
        self.accounts = accounts
    }

    public func add(to router: some RouterMethods<ParleyRequestContext>) {
        router.post("/v1/signup") { request, context in
            try await accounts.admission?.admit(.signup, request, context)
            return try await signup(request.decodeJSON())
        }
        router.post("/v1/login") { request, context in try await login(request, context) }
        router.post("/v1/token") { request, context in
            try await accounts.admission?.admit(.token, request, context)
            return try await refresh(request.decodeJSON())
        }
        // A client whose answer was lost logs out again with a login that is already revoked.
        router.group().add(middleware: Authenticator(tokens: accounts.tokens, revocations: nil))
            .post("/v1/logout") { _, context in
                let identity = try context.requireIdentity()
                _ = try await accounts.store.end(identity.login, of: identity.user, revoking: accounts.revocations)
                return Response(status: .noContent)
            }
    }

    private struct Signup: Decodable {
        let username: String
        let password: String
        let display_name: String?
    }

    private func signup(_ input: Signup) async throws -> EditedResponse<Session> {
        guard let username = Username(input.username) else {
            throw HTTPProblem.invalid("username", "expected 3-32 of a-z, 0-9, _, . and -.")
        }
        guard let password = Password(input.password) else { throw HTTPProblem.invalidPassword("password") }
        var displayName = DisplayName(username)
        if let given = input.display_name {
            guard let name = DisplayName(given) else { throw HTTPProblem.invalidDisplayName }
            displayName = name
        }
        let taken = HTTPProblem(.conflict, "username: \(username.text) is taken.")
        // Before the costly hash; the database decides between two that race.
        guard try await !accounts.store.isTaken(username) else { throw taken }
        let hash = try await accounts.hasher.hash(password.text)
        let login = AccountStore.NewLogin(device: nil)
        guard
            let user = try await accounts.store.create(
                username: username,
                displayName: displayName,
                passwordHash: hash,
                login: login
            )
        else { throw taken }
        return try session(user, login.id, login.token, status: .created)
    }

    private struct SignIn: Decodable {
        let username: String
        let password: String
        let device: String?
    }

    /// A wrong password and an unknown user get the same answer after the same work, and the same limits.
    private func login(_ request: Request, _ context: ParleyRequestContext) async throws -> EditedResponse<Session> {
        let input: SignIn = try await request.decodeJSON()
        let username = Username(input.username)
        try await accounts.admission?.admitLogin(to: username?.text, request, context)
        if let device = input.device, DeviceID(device) == nil {
            throw HTTPProblem.invalid("device", "expected 1-64 of A-Z, a-z, 0-9, ., _ and -.")
        }
        var known: AccountStore.Credentials?
        if let username {
            known = try await accounts.store.credentials(username: username)
        }
        let verification = try await accounts.hasher.verify(input.password, against: known?.passwordHash)
        let login = AccountStore.NewLogin(device: input.device)
        guard let known, verification.matches, try await accounts.store.add(login, of: known) else {
            throw HTTPProblem(.unauthorized, "The username or the password is wrong.")
        }
        if let username { await accounts.admission?.signedIn(to: username.text, request, context) }
        if verification.needsRehash {
            let hash = try await accounts.hasher.hash(input.password)
            try await accounts.store.rehash(known, to: hash)
        }
        return try session(known.user, login.id, login.token)
    }

    private struct Refresh: Decodable {
        let refresh_token: String
    }

    private func refresh(_ input: Refresh) async throws -> EditedResponse<Session> {
        guard let presented = RefreshToken(input.refresh_token),
            let rotation = try await accounts.store.rotate(presented, revoking: accounts.revocations)
        else {
            throw HTTPProblem(.unauthorized, "The refresh token is not valid, or no longer: sign in again.")
        }
        return try session(rotation.user, rotation.login, rotation.token)
    }

    /// What signing up, signing in and refreshing answer.
    private struct Session: ResponseEncodable {
        let user: User
        let access_token: String
        let refresh_token: String
        /// Seconds until the access token expires.
        let expires_in: Int
    }

    private func session(
        _ user: User,
        _ login: LoginID,
        _ token: RefreshToken,
        status: HTTPResponse.Status = .ok
    ) throws -> EditedResponse<Session> {
        EditedResponse(
            status: status,
            headers: [.cacheControl: "no-store"],
            response: Session(
                user: user,
                access_token: try accounts.tokens.sign(user: user.id, login: login),
                refresh_token: token.text,
                expires_in: accounts.tokens.lifetime
            )
        )
    }
}

extension HTTPProblem {
    static func invalidPassword(_ field: String) -> HTTPProblem {
        .invalid(field, "expected 8-256 bytes.")
    }
}
