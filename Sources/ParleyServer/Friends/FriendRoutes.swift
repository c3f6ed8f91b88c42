import HTTPTypes
import Hummingbird
import ParleyWire

/// Friends, and requests to become friends. All routes need a sign-in.
///
/// Each answers when Redis has the change, and a repeat answers as if it had just been made.
struct FriendRoutes {
    let relations: RelationActions

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        let signedIn = router.group().add(middleware: relations.authenticator)
        signedIn.get("/v1/friends") { _, context in
            try await relations.lists(of: context.requireIdentity().user)
        }
        signedIn.post("/v1/friends/requests") { request, context in
            let given: NewRequest = try await request.decodeJSON()
            let (relation, hasChanged) = try await relations.perform(.ask, toward: given.user, context)
            let isNew = hasChanged && relation.isAsking
            return EditedResponse(status: isNew ? .created : .ok, response: State(relation))
        }
        signedIn.post("/v1/friends/requests/:user/accept") { _, context in
            State(try await relations.perform(.accept, toward: context.other(), context).relation)
        }
        signedIn.delete("/v1/friends/requests/:user") { _, context in
            _ = try await relations.perform(.endRequest, toward: context.other(), context)
            return Response(status: .noContent)
        }
        signedIn.delete("/v1/friends/:user") { _, context in
            _ = try await relations.perform(.unfriend, toward: context.other(), context)
            return Response(status: .noContent)
        }
    }

    private struct NewRequest: Decodable {
        let user: UserID
    }

    /// In which of the lists the other is now.
    private struct State: ResponseEncodable {
        let state: String

        init(_ relation: Relation) { state = relation.areFriends ? "friends" : "outgoing" }
    }
}

extension RelationStore.Lists: ResponseEncodable {}
