import ParleyWire

/// A person, as everybody may see them.
struct User: Sendable, Equatable, Encodable {
    let id: UserID
    let username: String
    let displayName: String
    /// Of a deleted account alone: who it was is forgotten, that there was one is not.
    var deleted: Bool?

    enum CodingKeys: String, CodingKey {
        case id, username, deleted
        case displayName = "display_name"
    }

    /// What stands in place of somebody whose account is gone.
    static func gone(_ id: UserID) -> User {
        User(id: id, username: "", displayName: "Deleted user", deleted: true)
    }
}

/// Who may open a conversation with somebody.
enum MayWrite: String, Sendable, CaseIterable { case everyone, friends }

/// Who may see when somebody was last here.
enum LastSeen: String, Sendable, CaseIterable { case everyone, friends, nobody }

/// When push rests, in the person's time zone; may pass midnight.
struct QuietHours: Sendable, Equatable {
    let from: TimeOfDay
    let to: TimeOfDay
}

extension QuietHours: Codable {
    enum CodingKeys: String, CodingKey { case from, to }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        guard let from = try TimeOfDay(container.decode(String.self, forKey: .from)),
            let to = try TimeOfDay(container.decode(String.self, forKey: .to))
        else { throw HTTPProblem.invalid("quiet_hours", "expected from and to as HH:MM.") }
        self.init(from: from, to: to)
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(from.description, forKey: .from)
        try container.encode(to.description, forKey: .to)
    }
}

/// A person, as they see themselves.
struct Profile: Sendable, Equatable {
    let user: User
    /// Milliseconds since 1970.
    let createdAt: Int64
    let mayWrite: MayWrite
    let lastSeen: LastSeen
    /// Shown as offline to everybody.
    let isInvisible: Bool
    let timeZone: String?
    let quietHours: QuietHours?
}

extension Profile: Encodable {
    enum CodingKeys: String, CodingKey {
        case createdAt = "created_at"
        case mayWrite = "may_write"
        case lastSeen = "last_seen"
        case isInvisible = "invisible"
        case timeZone = "time_zone"
        case quietHours = "quiet_hours"
    }

    /// The user's own fields and the settings stand side by side; what is not set is null.
    func encode(to encoder: any Encoder) throws {
        try user.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(createdAt, forKey: .createdAt)
        try container.encode(mayWrite.rawValue, forKey: .mayWrite)
        try container.encode(lastSeen.rawValue, forKey: .lastSeen)
        try container.encode(isInvisible, forKey: .isInvisible)
        try container.encode(timeZone, forKey: .timeZone)
        try container.encode(quietHours, forKey: .quietHours)
    }
}

/// What PATCH /v1/me changes: absent fields stay, null clears those that can be unset.
struct ProfileChange: Sendable, Equatable {
    enum Optionally<Value: Sendable & Equatable>: Sendable, Equatable {
        case unchanged
        case to(Value?)
    }

    var displayName: DisplayName?
    var mayWrite: MayWrite?
    var lastSeen: LastSeen?
    var isInvisible: Bool?
    var timeZone: Optionally<String> = .unchanged
    var quietHours: Optionally<QuietHours> = .unchanged

    var concernsPresence: Bool { lastSeen != nil || isInvisible != nil }
}

extension ProfileChange: Decodable {
    enum CodingKeys: String, CodingKey {
        case displayName = "display_name"
        case mayWrite = "may_write"
        case lastSeen = "last_seen"
        case isInvisible = "invisible"
        case timeZone = "time_zone"
        case quietHours = "quiet_hours"
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        if let given = try container.decodeIfPresent(String.self, forKey: .displayName) {
            guard let name = DisplayName(given) else { throw HTTPProblem.invalidDisplayName }
            displayName = name
        }
        mayWrite = try Self.choice(of: MayWrite.self, in: container, .mayWrite)
        lastSeen = try Self.choice(of: LastSeen.self, in: container, .lastSeen)
        isInvisible = try container.decodeIfPresent(Bool.self, forKey: .isInvisible)
        if container.contains(.timeZone) {
            let zone = try container.decodeIfPresent(String.self, forKey: .timeZone)
            guard zone.map(Self.mayBeTimeZone) ?? true else { throw HTTPProblem.invalidTimeZone }
            timeZone = .to(zone)
        }
        if container.contains(.quietHours) {
            quietHours = .to(try container.decodeIfPresent(QuietHours.self, forKey: .quietHours))
        }
    }

    private static func choice<T: CaseIterable & RawRepresentable<String>>(
        of type: T.Type,
        in container: KeyedDecodingContainer<CodingKeys>,
        _ key: CodingKeys
    ) throws -> T? {
        guard let given = try container.decodeIfPresent(String.self, forKey: key) else { return nil }
        guard let value = T(rawValue: given) else {
            let names = T.allCases.map(\.rawValue).joined(separator: ", ")
            throw HTTPProblem.invalid(key.stringValue, "expected one of \(names).")
        }
        return value
    }

    /// An IANA name's letters: `Europe/Berlin`, `Etc/GMT+2`, `UTC`. PostgreSQL knows which of them exist.
    private static func mayBeTimeZone(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count) && text.first?.isLetter == true
            && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "_+-/".contains($0)) }
    }
}

extension HTTPProblem {
    static let invalidDisplayName = invalid("display_name", "expected 1-64 characters on one line.")
    static let invalidTimeZone = invalid("time_zone", "expected an IANA name, as Europe/Berlin.")
}

/// A sign-in of this user, as listed.
struct Login: Sendable, Equatable {
    let id: LoginID
    let device: String?
    let createdAt: Int64
    let lastUsedAt: Int64
}
