/// How suggestions are served.
struct SuggestConfiguration: Sendable {
    enum Access: String, Sendable, CaseIterable {
        /// To everybody.
        case everybody = "public"
        case signedIn = "signed-in"
    }

    var access = Access.signedIn
    /// How long browsers and proxies may keep an answer, in seconds: as late is a blocked word gone from there.
    var maxAge: Int64 = 300
    /// Answers that are kept, of each event loop; about a kilobyte each.
    var cacheEntries = 50_000
}
