import Hummingbird
import ParleyWire

/// Whom a user blocks. All routes need a sign-in.
///
/// After the answer to a block no message of the blocked one to the blocker is committed any more.
struct BlockRoutes {
    let relations: RelationActions

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        let signedIn = router.group().add(middleware: relations.authenticator)
        signedIn.get("/v1/blocks") { request, context in
            let cursor = try request.uri.queryParameters["cursor"].map { text in
                guard let user = UserID(text) else {
                    throw HTTPProblem.invalid("cursor", "expected what a page's next held.")
                }
                return user
            }
            let page = try await relations.outbox.store.blocked(
                by: context.requireIdentity().user,
                after: cursor,
                limit: request.pageLimit()
            )
            return Page(users: page.users, next: page.next)
        }
        signedIn.put("/v1/blocks/:user") { _, context in
            _ = try await relations.perform(.block, toward: context.other(), context)
            return Response(status: .noContent)
        }
        signedIn.delete("/v1/blocks/:user") { _, context in
            _ = try await relations.perform(.unblock, toward: context.other(), context)
            return Response(status: .noContent)
        }
    }

    private struct Page: ResponseEncodable {
        let users: [User]
        let next: UserID?

        enum CodingKeys: String, CodingKey { case users, next }

        /// A last page says `"next":null`.
        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(users, forKey: .users)
            try container.encode(next, forKey: .next)
        }
    }
}
