public import Hummingbird
public import ParleyWire

/// Finding people. All routes need a sign-in.
public struct UserRoutes: Sendable {
    private let accounts: Accounts
    /// When a user was here last, for another to see.
    private let lastActive: @Sendable (_ user: UserID, _ viewer: UserID) async -> Int64?

    public init(
        accounts: Accounts,
        lastActive: @escaping @Sendable (_ user: UserID, _ viewer: UserID) async -> Int64? = { _, _ in nil }
    ) {
        self.accounts = accounts
        self.lastActive = lastActive
    }

    public func add(to router: some RouterMethods<ParleyRequestContext>) {
        let signedIn = router.group().add(middleware: accounts.authenticator)
        signedIn.get("/v1/users") { request, _ in
            if let ids = request.uri.queryParameters["ids"] { return try await users(ids: ids) }
            guard let prefix = request.uri.queryParameters["prefix"] else {
                throw HTTPProblem(.invalid, "prefix: is missing, and ids too; one of them is needed.")
            }
            return try await search(
                prefix: String(prefix),
                limit: request.pageLimit(),
                cursor: request.uri.queryParameters["cursor"]
            )
        }
        signedIn.get("/v1/users/:id") { _, context in
            guard let id = UserID(try context.parameters.require("id")),
                let user = try await accounts.store.user(id)
            else { throw HTTPProblem(.notFound, "There is no such user.") }
            return try await Person(user: user, lastActive: lastActive(id, context.requireIdentity().user))
        }
    }

    private struct Person: ResponseEncodable {
        let user: User
        /// Milliseconds since 1970; absent where it is not shown.
        let lastActive: Int64?

        enum CodingKeys: String, CodingKey { case lastActive = "last_active" }

        func encode(to encoder: any Encoder) throws {
            try user.encode(to: encoder)
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encodeIfPresent(lastActive, forKey: .lastActive)
        }
    }

    private func users(ids: Substring) async throws -> Page {
        let texts = ids.split(separator: ",")
        let ids = texts.compactMap { UserID(String($0)) }
        guard (1...200).contains(ids.count), ids.count == texts.count else {
            throw HTTPProblem.invalid("ids", "expected 1-200 user ids with commas between.")
        }
        return Page(users: try await accounts.store.users(ids), next: nil)
    }

    private func search(prefix: String, limit: Int, cursor: Substring?) async throws -> Page {
        // NUL is what PostgreSQL's texts cannot hold; no name has any other control character either.
        guard (1...64).contains(prefix.count), prefix.utf8.count <= 512,
            !prefix.unicodeScalars.contains(where: { $0.properties.generalCategory == .control })
        else { throw HTTPProblem.invalid("prefix", "expected 1-64 characters.") }
        let from = try cursor.map { text in
            guard let cursor = AccountStore.SearchCursor(text) else {
                throw HTTPProblem.invalid("cursor", "expected what a page's next held.")
            }
            return cursor
        }
        let page = try await accounts.store.search(prefix: prefix, limit: limit, from: from)
        return Page(users: page.users, next: page.next?.text)
    }

    private struct Page: ResponseEncodable {
        let users: [User]
        let next: String?

        enum CodingKeys: String, CodingKey { case users, next }

        /// A last page says `"next":null`.
        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(users, forKey: .users)
            try container.encode(next, forKey: .next)
        }
    }
}

extension AccountStore.SearchCursor {
    /// Opaque to clients: base64url of the kind, the id where it counts, and the text after which to go on.
    var text: String {
        switch self {
        case .username(let last): Base64.url.encode("u:\(last)".utf8)
        case .displayName(let key, let id): Base64.url.encode("d:\(id):\(key)".utf8)
        }
    }

    init?(_ text: some StringProtocol) {
        guard let bytes = Base64.url.decode(text), !bytes.contains(0),
            let decoded = String(validating: bytes, as: UTF8.self)
        else { return nil }
        let parts = decoded.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
        switch (parts[0], parts.count) {
        case ("u", 2): self = .username(after: parts[1])
        case ("d", 3): self = .displayName(afterKey: parts[2], id: parts[1])
        default: return nil
        }
    }
}
