public import Hummingbird
public import ParleyWire

/// One's own profile, settings and password. All need a sign-in.
public struct ProfileRoutes: Sendable {
    private let accounts: Accounts
    /// Returns when a change of who may write is in force.
    private let mayWriteChanged: @Sendable (UserID) async throws -> Void
    /// Returns when what a user shows of their presence is in force.
    private let presenceChanged: @Sendable (UserID) async throws -> Void

    public init(
        accounts: Accounts,
        mayWriteChanged: @escaping @Sendable (UserID) async throws -> Void,
        presenceChanged: @escaping @Sendable (UserID) async throws -> Void
    ) {
        self.accounts = accounts
        self.mayWriteChanged = mayWriteChanged
        self.presenceChanged = presenceChanged
    }

    public func add(to router: some RouterMethods<ParleyRequestContext>) {
        let signedIn = router.group().add(middleware: accounts.authenticator)
        signedIn.get("/v1/me") { _, context in
            try await present(accounts.store.profile(of: context.requireIdentity().user))
        }
        signedIn.patch("/v1/me") { request, context in
            let change: ProfileChange = try await request.decodeJSON()
            let user = try context.requireIdentity().user
            let profile = try await present(accounts.store.change(change, of: user))
            if change.mayWrite != nil { try await mayWriteChanged(user) }
            if change.concernsPresence {
                do {
                    try await presenceChanged(user)
                } catch {
                    throw HTTPProblem(.unavailable, "The change is made and not in force yet: ask again.")
                }
            }
            return profile
        }
        signedIn.put("/v1/me/password") { request, context in
            try await changePassword(request.decodeJSON(), identity: context.requireIdentity())
            return Response(status: .noContent)
        }
    }

    private func present(_ profile: Profile?) throws -> Profile {
        guard let profile else { throw HTTPProblem(.unauthorized, "This account is gone.") }
        return profile
    }

    private struct PasswordChange: Decodable {
        let current_password: String
        let new_password: String
    }

    private func changePassword(_ input: PasswordChange, identity: Identity) async throws {
        guard let password = Password(input.new_password) else { throw HTTPProblem.invalidPassword("new_password") }
        guard let known = try await accounts.store.credentials(user: identity.user) else {
            throw HTTPProblem(.unauthorized, "This account is gone.")
        }
        guard try await accounts.hasher.verify(input.current_password, against: known.passwordHash).matches else {
            throw HTTPProblem(.forbidden, "current_password: is wrong.")
        }
        let changed = try await accounts.store.changePassword(
            known,
            to: accounts.hasher.hash(password.text),
            keeping: identity.login,
            revoking: accounts.revocations
        )
        guard changed else { throw HTTPProblem(.conflict, "The password was just changed elsewhere.") }
    }
}

extension Profile: ResponseEncodable {}
