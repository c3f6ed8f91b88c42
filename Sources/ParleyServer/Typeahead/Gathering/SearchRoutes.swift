import Hummingbird
import ParleyCore
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
        let list = try search.list
        do {
            try await intake.take(search.q, locale: list.description, by: context.identity?.user)
        } catch {
            throw HTTPProblem(.unavailable, "Searches are not taken now.")
        }
        return Response(status: .noContent)
    }
}

private struct SubmittedSearch: Decodable {
    let q: String
    let locale: String?

    /// Whose list it counts for.
    var list: SuggestLocale {
        get throws(HTTPProblem) {
            do {
                _ = try SuggestText(utf8: q.utf8, .query)
            } catch {
                throw .invalid("q", "expected up to \(SuggestText.longestInput) bytes, something of which can be seen.")
            }
            guard let locale else { return .fallback }
            guard let list = SuggestLocale(locale) else {
                throw .invalid("locale", "expected a language and perhaps a country, as in ko or ko-KR.")
            }
            return list
        }
    }
}
