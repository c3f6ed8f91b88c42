import ParleyWire

/// Deletes accounts. The account itself goes in one transaction of PostgreSQL; everything else that holds something of
/// the user is told that they are gone, by the gateway that deletes or, should it die, by a worker.
///
/// What stays: messages, under the user's id, in the conversations of those they wrote to. The id answers as a deleted
/// user's for good.
struct AccountDeletion: Sendable {
    /// Removes what a capability holds of a user who is gone. Called twice or more often, also at once; what is not there
    /// any more is no error.
    typealias Departure = @Sendable (UserID) async throws -> Void

    let store: AccountStore
    let revocations: any LoginRevocations
    /// Before the account goes, for what can only be told while it is there.
    let partings: [Departure]
    /// Afterwards, in this order. A later one may count on what an earlier one removed.
    let departures: [Departure]

    /// Deletes the account, unless that was done before.
    ///
    /// - Throws: what a store says. If the account is gone by then, what is left is removed later.
    func delete(_ user: UserID) async throws {
        for parting in partings { try await parting(user) }
        try await store.delete(user)
        guard let deletion = try await store.deletion(of: user), deletion.passes == 0 else { return }
        try await pass(deletion)
    }

    /// Ends the sign-ins and tells everybody.
    func pass(_ deletion: AccountStore.Deletion) async throws {
        for login in deletion.logins { try await revocations.revoke(user: deletion.user, login: login) }
        for departure in departures { try await departure(deletion.user) }
        try await store.passed(deletion)
    }
}
