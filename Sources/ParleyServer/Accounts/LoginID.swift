import ParleyWire

/// One sign-in: a family of refresh tokens, and the `login` claim of every access token it yields. Its text follows
/// the grammar of user ids.
public struct LoginID: Sendable, Hashable, LosslessStringConvertible {
    private let id: UserID

    public init?(_ description: String) {
        guard let id = UserID(description) else { return nil }
        self.id = id
    }

    private init(_ id: UserID) {
        self.id = id
    }

    /// 60 random bits; the table of logins enforces that they are unique.
    public static func random() -> LoginID { LoginID(.random()) }

    public var description: String { id.description }
}
