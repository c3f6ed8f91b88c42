import NIOCore
import ParleyWire
import RedisClient

/// An entry of the push stream; Push.lua says what its fields are.
struct PushEntry: Sendable {
    enum Content: Sendable {
        /// `q` is 0 where it is not known.
        case message(Event, epoch: String, q: Int64)
        case read(seq: Int64)
    }

    /// In the stream.
    let id: String
    let user: UserID
    let conversation: ConversationID
    let content: Content
    /// Whom it is tried for again; nil for all devices of the user.
    let registration: Int64?
    /// How often it was tried.
    let attempts: Int
    /// When it was to be pushed first, in milliseconds since 1970.
    let since: Int64
    /// When it entered the stream this time.
    let enteredAt: Int64
    /// As they stand there, without those of a retry.
    private let fields: [String]

    /// The entry's name and its fields.
    init?(_ reply: RESPValue) {
        guard let parts = reply.array, parts.count == 2, let id = parts[0].string,
            let values = parts[1].array?.map({ $0.string ?? "" }), values.count.isMultiple(of: 2),
            let enteredAt = id.split(separator: "-").first.flatMap({ Int64($0) })
        else { return nil }
        var known: [String: String] = [:]
        var fields: [String] = []
        for index in stride(from: 0, to: values.count, by: 2) {
            known[values[index]] = values[index + 1]
            if !["r", "n", "t", "w"].contains(values[index]) { fields += values[index...index + 1] }
        }
        guard let user = known["u"].flatMap({ UserID($0) }) else { return nil }
        self.id = id
        self.user = user
        self.fields = fields
        self.enteredAt = enteredAt
        registration = known["r"].flatMap { Int64($0) }
        attempts = known["n"].flatMap { Int($0) } ?? 0
        since = known["t"].flatMap { Int64($0) } ?? enteredAt
        if let text = known["e"] {
            let place = known["p"]?.split(separator: " ") ?? []
            guard place.count == 2, let q = Int64(place[1]), let event = try? Event.decode(ByteBuffer(string: text)),
                let conversation = event.conv, event.mid != nil, event.seq != nil, event.from != nil, event.ts != nil
            else { return nil }
            self.conversation = conversation
            content = .message(event, epoch: String(place[0]), q: q)
        } else if let conversation = known["c"].flatMap({ ConversationID($0) }),
            let seq = known["s"].flatMap({ Int64($0) })
        {
            self.conversation = conversation
            content = .read(seq: seq)
        } else {
            return nil
        }
    }

    /// What decides in which bucket it is noted that this was sent.
    var milliseconds: Int64 {
        if case .message(let event, _, _) = content { event.ts ?? since } else { since }
    }

    /// How the bucket calls it.
    func name(for registration: PushRegistration) -> String {
        switch content {
        case .message(let event, _, _): "\(event.mid.map { "\($0)" } ?? "") \(registration.id)"
        case .read(let seq): "\(conversation) \(seq) \(registration.id)"
        }
    }

    /// Of the same, for one device.
    func fields(for registration: PushRegistration, attempts: Int, reason: String? = nil) -> [String] {
        fields + ["r", String(registration.id), "n", String(attempts), "t", String(since)]
            + (reason.map { ["w", $0] } ?? [])
    }

    /// - Returns: why nobody needs it any more; nil where it is to be sent.
    func reasonToDrop(_ standing: PushStanding, isMuted: Bool, isQuiet: Bool) -> PushDrop? {
        guard case .message(let event, let epoch, let q) = content else { return nil }
        if standing.read >= event.seq ?? .max { return .read }
        if q > 0, standing.epoch == epoch, standing.handled >= q { return .acknowledged }
        if isMuted { return .muted }
        if isQuiet { return .quiet }
        return nil
    }
}

/// Why something was not pushed.
enum PushDrop: String, Sendable, CaseIterable {
    case acknowledged, read, muted, quiet, unregistered
    /// It was before.
    case sent
}
