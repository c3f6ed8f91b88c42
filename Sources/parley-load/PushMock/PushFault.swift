/// Something to do wrong with requests to come.
struct PushFault: Codable {
    enum Kind: String, Codable {
        /// Answers with `status`, and `retry_after` seconds if given.
        case status
        /// Says goodbye to the connection: this stream and later ones were not processed.
        case goaway
        /// Resets the stream, or closes a connection of HTTP/1.1.
        case reset
        /// Answers `ms` later.
        case slow
    }

    let kind: Kind
    /// Requests whose path begins so; all of pushes without it.
    var path: String?
    var status: Int?
    var retry_after: Int?
    var ms: Int?
    /// How many requests; all without it.
    var times: Int?

    func concerns(_ path: String) -> Bool { self.path.map { path.hasPrefix($0) } ?? true }
}
