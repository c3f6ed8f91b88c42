import Hummingbird
import Logging
import ParleyWire

/// `DELETE /v1/me`.
///
/// A valid access token suffices; a password, where the body gives one, must be right. Clients should ask for it.
struct DeletionRoute: Sendable {
    let accounts: Accounts
    let deletion: AccountDeletion

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        // Who repeats it because the answer was lost has no sign-in any more: looked at below.
        router.group().add(
            middleware: Authenticator(tokens: accounts.tokens, revocations: nil, admission: accounts.admission)
        )
        .delete("/v1/me") { request, context in
            let identity = try context.requireIdentity()
            let confirmation: Confirmation? = try await request.decodeJSONIfPresent()
            if try await !accounts.store.isDeleted(identity.user) {
                try await check(identity, password: confirmation?.password)
            }
            do {
                try await deletion.delete(identity.user)
            } catch {
                context.logger.warning("deletion left to a worker", metadata: ["error": "\(error)"])
                throw HTTPProblem(.unavailable, "The account could not be deleted entirely. Ask again.")
            }
            return Response(status: .noContent)
        }
    }

    private struct Confirmation: Decodable {
        let password: String?
    }

    private func check(_ identity: Identity, password: String?) async throws {
        guard try await !accounts.revocations.isRevoked(user: identity.user, login: identity.login) else {
            throw HTTPProblem(.unauthorized, "This sign-in was ended.")
        }
        guard let password else { return }
        let known = try await accounts.store.credentials(user: identity.user)
        guard try await accounts.hasher.verify(password, against: known?.passwordHash).matches else {
            throw HTTPProblem(.forbidden, "password: is wrong.")
        }
    }
}
