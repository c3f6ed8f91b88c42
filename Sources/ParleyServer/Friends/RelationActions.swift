import Hummingbird
import ParleyWire

/// What the routes of this capability share.
struct RelationActions: Sendable {
    let outbox: RelationOutbox
    let limits: FriendConfiguration
    let authenticator: Authenticator

    func lists(of user: UserID) async throws -> RelationStore.Lists {
        try await outbox.store.lists(of: user, incomingLimit: limits.friendLimit)
    }

    /// Does what the one who asks wants with another, and waits until Redis has it.
    /// - Throws: `HTTPProblem`, or what a store says.
    func perform(_ action: Relation.Action, toward other: UserID, _ context: ParleyRequestContext) async throws -> (
        relation: Relation, hasChanged: Bool
    ) {
        let me = try context.requireIdentity().user
        guard other != me else { throw HTTPProblem.invalid("user", "that is yourself.") }
        do {
            let done = try await outbox.store.perform(action, by: me, toward: other, limits: limits)
            // A repeat too: its first answer may have been lost before Redis had it.
            try await settle { try await outbox.settle(me, other) }
            return done
        } catch let refusal as Relation.Refusal {
            throw HTTPProblem(refusal)
        }
    }

    /// Who may write to a user has changed.
    func mayWriteChanged(of user: UserID) async throws {
        try await settle { try await outbox.settle(.user(user)) }
    }

    private func settle(_ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch is RelationOutbox.Failure {
            throw HTTPProblem(.unavailable, "The change is made and will be in force soon; ask again.")
        }
    }
}

extension HTTPProblem {
    fileprivate init(_ refusal: Relation.Refusal) {
        switch refusal {
        case .noUser: self.init(.notFound, "There is no such user.")
        case .noRequest: self.init(.notFound, "There is no request of this user.")
        case .blocking: self.init(.forbidden, "You block this user.")
        case .full(let limit, let ofRequests, let isMine):
            let whose = isMine ? "You have" : "They have"
            let what = ofRequests ? "requests that wait" : "friends"
            self.init(.tooLarge, "\(whose) as many \(what) as one may have: \(limit).")
        }
    }
}

extension ParleyRequestContext {
    /// The user that the path names.
    func other() throws -> UserID {
        guard let user = UserID(try parameters.require("user")) else {
            throw HTTPProblem(.notFound, "There is no such user.")
        }
        return user
    }
}
