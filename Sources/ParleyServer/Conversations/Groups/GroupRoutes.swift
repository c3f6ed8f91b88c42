import Crypto
import HTTPTypes
import Hummingbird
import NIOCore
import ParleyWire

/// Creating groups and changing them. All routes need a sign-in.
///
/// Each answers when the change is in Redis, that is, when no later message can miss it. What PostgreSQL has and Redis
/// could not be told is finished by a worker; a client that got no answer repeats the request, and a repeat changes
/// nothing more.
struct GroupRoutes {
    let outbox: GroupOutbox
    let list: ConversationList
    let memberLimit: Int
    let authenticator: Authenticator

    /// Five hundred ids of the longest kind.
    private static let maximumBytes = 65_536

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        let signedIn = router.group().add(middleware: authenticator)
        signedIn.post("/v1/conversations") { request, context in
            try await create(request, by: context.requireIdentity().user)
        }
        signedIn.patch("/v1/conversations/:id") { request, context in
            let (user, group) = try context.group()
            let given: TitleChange = try await request.decodeJSON()
            guard let title = GroupTitle(given.title) else { throw HTTPProblem.invalidTitle }
            try await perform(.rename(title), by: user, in: group)
            return try await conversation(group, for: user)
        }
        signedIn.put("/v1/conversations/:id/members/:user") { request, context in
            let (user, group) = try context.group()
            let role = try await request.role()
            try await perform(.put(try context.member(), role), by: user, in: group)
            return try await conversation(group, for: user)
        }
        signedIn.delete("/v1/conversations/:id/members/:user") { _, context in
            let (user, group) = try context.group()
            try await perform(.remove(try context.member()), by: user, in: group)
            return Response(status: .noContent)
        }
    }

    private struct NewGroup: Decodable {
        let title: String
        let members: [UserID]
    }

    private struct TitleChange: Decodable {
        let title: String
    }

    private func create(_ request: Request, by creator: UserID) async throws -> Response {
        guard let key = request.headers[.idempotencyKey], (1...128).contains(key.utf8.count),
            key.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else { throw HTTPProblem.invalid("Idempotency-Key", "expected a header of 1-128 visible ASCII characters.") }
        let given: NewGroup = try await request.decodeJSON(maximumBytes: Self.maximumBytes)
        guard let title = GroupTitle(given.title) else { throw HTTPProblem.invalidTitle }
        // Who is named twice, or names themself, is in it once.
        let others = Set(given.members).subtracting([creator]).sorted()
        guard others.count < memberLimit else { throw HTTPProblem.groupFull(memberLimit) }

        let group = Self.id(creator: creator, key: key)
        var hash = ContentHash()
        hash.update(field: title.text)
        for member in others { hash.update(field: member.description) }
        let creation: GroupStore.Creation
        do {
            creation = try await outbox.store.create(
                group,
                title: title,
                members: [creator] + others,
                contentHash: hash.hexDigits
            )
        } catch is GroupStore.UnknownUser {
            throw HTTPProblem.noUser
        } catch Group.Refusal.forbidden(let why) {
            throw HTTPProblem(.forbidden, "\(why).")
        }
        if creation == .conflict {
            throw HTTPProblem(.conflict, "This Idempotency-Key was used before with other content.")
        }
        try await settle(group)
        return try await conversation(group, for: creator, status: creation == .created ? .created : .ok)
    }

    /// A group's id follows from its creator and the Idempotency-Key, so a repeat finds the group of the first time.
    private static func id(creator: UserID, key: String) -> ConversationID {
        let digest = SHA256.hash(data: Array("\(creator) \(key)".utf8))
        let alphabet = Array("0123456789abcdefghjkmnpqrstvwxyz")
        guard let group = ConversationID.group(String(digest.prefix(20).map { alphabet[Int($0 & 31)] })) else {
            preconditionFailure("twenty letters and digits name a group")
        }
        return group
    }

    private func perform(_ action: Group.Action, by user: UserID, in group: ConversationID) async throws {
        do {
            try await outbox.store.perform(action, by: user, in: group, limit: memberLimit)
        } catch let refusal as Group.Refusal {
            switch refusal {
            case .notFound: throw HTTPProblem(.notFound, "There is no such group, or no such member.")
            case .notMember: throw HTTPProblem.notMember
            case .forbidden(let why): throw HTTPProblem(.forbidden, "\(why).")
            case .invalid(let why): throw HTTPProblem(.invalid, "\(why).")
            case .full(let limit): throw HTTPProblem.groupFull(limit)
            }
        } catch is GroupStore.UnknownUser {
            throw HTTPProblem.noUser
        }
        try await settle(group)
    }

    private func settle(_ group: ConversationID) async throws {
        do {
            try await outbox.settle(group)
        } catch is GroupOutbox.Failure {
            throw HTTPProblem(.unavailable, "The change is made and will be seen soon; ask again.")
        }
    }

    private func conversation(
        _ group: ConversationID,
        for user: UserID,
        status: HTTPResponse.Status = .ok
    ) async throws -> Response {
        let summary = try await HTTPProblem.explaining { try await list.summary(of: group, for: user) }
        return Response(status: status, json: ConversationJSON.one(summary, for: user))
    }
}

extension HTTPField.Name {
    fileprivate static let idempotencyKey = Self("Idempotency-Key")!
}

extension ParleyRequestContext {
    /// Who asks, and the group that the path names.
    fileprivate func group() throws -> (UserID, ConversationID) {
        let (user, conversation) = try conversation()
        guard !conversation.isDirect else { throw HTTPProblem(.forbidden, "A direct conversation stays as it is.") }
        return (user, conversation)
    }

    /// The member that the path names.
    fileprivate func member() throws -> UserID {
        guard let user = UserID(try parameters.require("user")) else { throw HTTPProblem.noUser }
        return user
    }
}

extension Request {
    /// The role that the body asks for; a body may be missing.
    fileprivate func role() async throws -> Group.Role? {
        struct RoleChange: Decodable {
            let role: String?
        }
        guard headers[.contentLength] ?? "0" != "0" || headers[.transferEncoding] != nil else { return nil }
        guard let text = try await decodeJSON(RoleChange.self).role else { return nil }
        guard let role = Group.Role(rawValue: text) else {
            throw HTTPProblem.invalid("role", "expected owner, admin or member.")
        }
        return role
    }
}

extension HTTPProblem {
    fileprivate static let invalidTitle = invalid("title", "expected 1-100 characters on one line.")
    fileprivate static let noUser = HTTPProblem(.notFound, "There is no such user.")

    fileprivate static func groupFull(_ limit: Int) -> HTTPProblem {
        HTTPProblem(.tooLarge, "A group has at most \(limit) members.")
    }
}
