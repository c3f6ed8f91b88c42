/// What the routes of this capability share.
public struct Accounts: Sendable {
    public let store: AccountStore
    public let hasher: PasswordHasher
    public let tokens: AccessTokens
    public let revocations: any LoginRevocations
    let admission: Admission?

    init(
        store: AccountStore,
        hasher: PasswordHasher,
        tokens: AccessTokens,
        revocations: any LoginRevocations,
        admission: Admission? = nil
    ) {
        self.store = store
        self.hasher = hasher
        self.tokens = tokens
        self.revocations = revocations
        self.admission = admission
    }

    /// The middleware for everything that needs a sign-in.
    public var authenticator: Authenticator {
        Authenticator(tokens: tokens, revocations: revocations, admission: admission)
    }
}
