import Hummingbird
import NIOCore
import ParleyWire

/// `POST /v1/searches`: what somebody searched for, when they did, and not while they type.
///
/// It says nothing of whether this user is among those listened to.
struct SearchRoutes {
    let intake: SearchIntake
    let authenticator: Authenticator
    let admission: Admission
    /// Whether those may who are not signed in.
    let isPublic: Bool

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        router.post("/v1/searches") { request, context in
            guard isPublic, request.headers[.authorization] == nil else {
                return try await authenticator.handle(request, context: context, next: take)
            }
            try await admission.admit(.submit, request, context)
            return try await take(request, context)
        }
    }

    private func take(_ request: Request, _ context: ParleyRequestContext) async throws -> Response {
        let search = try await request.decodeJSON(SubmittedSearch.self, maximumBytes: 4096)
        try search.validate()
        do {
            try await intake.take(search.q, locale: search.locale ?? "", by: context.identity?.user)
        } catch {
            throw HTTPProblem(.unavailable, "Searches are not taken now.")
        }
        return Response(status: .noContent)
    }
}

struct SubmittedSearch: Decodable {
    let q: String
    let locale: String?

    static let longest = 200

    func validate() throws(HTTPProblem) {
        guard (1...Self.longest).contains(q.unicodeScalars.count),
            !q.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }),
            q.contains(where: { !$0.isWhitespace })
        else { throw .invalid("q", "expected 1-\(Self.longest) characters, none of them a control character.") }
        guard let locale else { return }
        guard locale.wholeMatch(of: /[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*/) != nil, locale.utf8.count <= 35 else {
            throw .invalid("locale", "expected a language and perhaps a country, as in ko or ko-KR.")
        }
    }
}
