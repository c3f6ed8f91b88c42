import Hummingbird
import ParleyWire

/// A user's conversations and their history. All routes need a sign-in.
struct ConversationRoutes {
    let conversations: ConversationStore
    let list: ConversationList
    let history: History
    let authenticator: Authenticator

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        let signedIn = router.group().add(middleware: authenticator)
        signedIn.get("/v1/conversations") { request, context in
            let user = try context.requireIdentity().user
            let cursor = try request.messageID("cursor")
            let (page, next) = try await list.page(of: user, before: cursor, limit: request.pageLimit())
            return Response(json: ConversationJSON.list(page, next: next, for: user))
        }
        signedIn.get("/v1/conversations/:id") { _, context in
            let (user, conversation) = try context.conversation()
            let summary = try await HTTPProblem.explaining { try await list.summary(of: conversation, for: user) }
            return Response(json: ConversationJSON.one(summary, for: user))
        }
        signedIn.get("/v1/conversations/:id/messages") { request, context in
            let (user, conversation) = try context.conversation()
            let window = try window(of: request)
            let membership = try await HTTPProblem.explaining {
                try await conversations.membership(of: user, in: conversation)
            }
            do {
                let page = try await history.page(
                    of: conversation,
                    window,
                    from: membership.firstVisible,
                    limit: request.pageLimit()
                )
                return Response(json: ConversationJSON.messages(page, for: user))
            } catch HistoryError.backlogTooLong {
                throw HTTPProblem(.unavailable, "History is catching up.", retryMilliseconds: 5000)
            }
        }
    }

    private func window(of request: Request) throws(HTTPProblem) -> History.Window {
        let (before, after) = (try request.messageID("before"), try request.messageID("after"))
        let afterSequence = request.uri.queryParameters["after_seq"]
        switch (before, after, afterSequence) {
        case (let before, nil, nil): return .before(before)
        case (nil, let after?, nil): return .after(after)
        case (nil, nil, let text?):
            guard let seq = Int64(text), (0...(1 << 53)).contains(seq) else {
                throw HTTPProblem.invalid("after_seq", "expected a sequence number.")
            }
            return .afterSequence(seq)
        default: throw HTTPProblem.invalid("before", "before, after and after_seq exclude each other.")
        }
    }
}

extension Request {
    fileprivate func messageID(_ name: String) throws(HTTPProblem) -> MessageID? {
        guard let text = uri.queryParameters[name[...]] else { return nil }
        guard let mid = MessageID(text) else { throw HTTPProblem.invalid(name, "expected a message id.") }
        return mid
    }
}

extension ParleyRequestContext {
    /// Who asks, and the conversation that the path names: any group, and direct ones of the user.
    func conversation() throws -> (UserID, ConversationID) {
        let user = try requireIdentity().user
        // Ids hold colons, which clients may percent-encode.
        let text = try parameters.require("id").replacing("%3A", with: ":").replacing("%3a", with: ":")
        guard let conversation = ConversationID(text), !conversation.isDirect || conversation.peer(of: user) != nil
        else {
            throw HTTPProblem.noConversation
        }
        return (user, conversation)
    }
}

extension HTTPProblem {
    /// Also what a stranger gets.
    static let noConversation = HTTPProblem(.notFound, "There is no such conversation.")
    static let notMember = HTTPProblem(.notMember, "You are no longer in this group.")

    /// Runs what asks for a membership, and says in HTTP's terms what was refused.
    static func explaining<R>(_ body: () async throws -> R) async throws -> R {
        do {
            return try await body()
        } catch let refusal as ConversationStore.Refusal {
            switch refusal {
            case .notFound: throw noConversation
            case .notMember: throw notMember
            case .forbidden: throw HTTPProblem(.forbidden, SendRefusal.forbidden.message)
            case .epochChanged: throw HTTPProblem(.unavailable, "The sync epoch has changed.")
            }
        }
    }
}
