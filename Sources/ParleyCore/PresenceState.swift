/// Whether somebody is online, as of a version that rises with every change.
public struct PresenceState: Sendable, Hashable {
    public var isOnline: Bool
    /// 0 for somebody of whom nothing is known.
    public var version: Int64
    /// When the person was here last, in milliseconds since 1970; nil for unknown or not shown.
    public var lastActive: Int64?

    public init(isOnline: Bool, version: Int64, lastActive: Int64? = nil) {
        self.isOnline = isOnline
        self.version = version
        self.lastActive = lastActive
    }

    /// As Redis says it: `online` or `offline`, the version, the last activity or `-`.
    public init?(words: some Collection<Substring>) {
        let words = Array(words)
        guard words.count == 3, let version = Int64(words[1]), words[0] == "online" || words[0] == "offline" else {
            return nil
        }
        self.init(isOnline: words[0] == "online", version: version, lastActive: Int64(words[2]))
    }

    public var text: String { "\(isOnline ? "online" : "offline") \(version) \(lastActive.map(String.init) ?? "-")" }
}
