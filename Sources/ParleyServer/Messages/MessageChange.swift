import ParleyWire

/// What an author does to a message afterwards.
enum MessageChange: Sendable, Hashable {
    case edit(body: String)
    case delete

    var type: EventType {
        switch self {
        case .edit: .edited
        case .delete: .deleted
        }
    }

    var body: String? { if case .edit(let body) = self { body } else { nil } }

    /// Tells changes apart under a repeated cid, from each other and from messages; stable for good.
    func contentHash(of mid: MessageID) -> String {
        var hash = ContentHash()
        hash.update(field: type.rawValue)
        hash.update(field: mid.description)
        hash.update(field: body)
        return hash.hexDigits
    }

    /// Why a user may not do this to what stands in history, or nil.
    /// - Parameters:
    ///   - message: nil where the conversation has no such entry, or none that the user may see.
    ///   - now: milliseconds since 1970.
    ///   - window: milliseconds that a message may be changed for.
    static func refusal(of message: StoredMessage?, by user: UserID, now: Int64, window: Int64) -> SendRefusal? {
        guard let message, message.type == .message else { return SendRefusal(.notFound, "no such message") }
        guard message.sender == user else { return SendRefusal(.forbidden, "the message is not yours") }
        guard !message.isDeleted else { return SendRefusal(.notFound, "the message was deleted") }
        guard now - message.timestamp <= window else {
            return SendRefusal(.forbidden, "the message is too old to be changed")
        }
        return nil
    }
}
