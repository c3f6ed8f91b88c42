import NIOCore
import ParleyCore
import ParleyWire
import RedisClient

/// What a beginning session, or a poll, learns of its queue.
struct Attachment: Sendable, Hashable {
    /// Empty when Redis has none.
    let epoch: String
    let head: Int64
    /// The lowest position that the queue still has, or will have.
    let firstAvailable: Int64
    let isRevoked: Bool
    /// The user has as many devices as may be, and all were here lately.
    let isOneTooMany: Bool

    static let oneTooMany = "This account has as many devices as it may have: sign one of them out first."

    static func command(
        user: UserID,
        device: DeviceID,
        session: String,
        login: String,
        keepsPlace: Bool,
        resume: ClientFrame.Cursor?,
        deviceLimit: Int
    ) -> RedisCommand {
        RedisFunctions.call(
            "attach",
            keys: [Keys.epoch, Keys.queue(user), Keys.user(user), Keys.revoked(user, login)],
            [
                user.description, device.description, session, keepsPlace ? "1" : "0",
                resume?.epoch ?? "", resume.map { String($0.q) } ?? "", login, String(deviceLimit),
            ]
        ).counted(as: .sync)
    }

    init?(_ reply: RESPValue) {
        guard let parts = reply.array, parts.count >= 4, let epoch = parts[0].string,
            let head = parts[1].integer, let first = parts[2].integer, let refusal = parts[3].integer
        else { return nil }
        self.epoch = epoch
        self.head = head
        firstAvailable = first
        isRevoked = refusal == 1
        isOneTooMany = refusal == 2
    }
}

/// What a poll learns of its queue, having said what its device has handled.
struct PollReply: Sendable {
    let standing: Attachment
    /// Messages that the device is now known to have: the last of each conversation.
    private(set) var delivered: [(conversation: ConversationID, seq: Int64)] = []

    /// - Parameter device: nil for a reader that keeps no place in the queue.
    static func command(
        user: UserID,
        device: DeviceID?,
        login: String,
        cursor: ClientFrame.Cursor?,
        deviceLimit: Int
    ) -> RedisCommand {
        RedisFunctions.call(
            "poll",
            keys: [Keys.epoch, Keys.queue(user), Keys.user(user), Keys.revoked(user, login)],
            [
                user.description, device?.description ?? "", cursor?.epoch ?? "", cursor.map { String($0.q) } ?? "",
                login, String(deviceLimit),
            ]
        ).counted(as: .sync)
    }

    init?(_ reply: RESPValue) {
        guard let standing = Attachment(reply), let parts = reply.array else { return nil }
        self.standing = standing
        for index in stride(from: 4, to: parts.count - 1, by: 2) {
            guard let conversation = parts[index].string.flatMap({ ConversationID($0) }),
                let seq = parts[index + 1].integer
            else { continue }
            delivered.append((conversation, seq))
        }
    }
}

/// How far a user has read a direct conversation, or got it delivered.
struct Receipt {
    enum Kind: String { case read, delivered }

    let conversation: ConversationID
    let user: UserID
    let kind: Kind
    let seq: Int64

    /// nil for a conversation that the user is not one of the two of.
    func command(epoch: String, queueCap: Int) -> RedisCommand? {
        guard let peer = conversation.peer(of: user) else { return nil }
        return RedisFunctions.call(
            "receipt",
            keys: [Keys.epoch, Keys.conversation(conversation), Keys.queue(user), Keys.queue(peer)],
            [
                epoch, conversation.description, user.description, peer.description, kind.rawValue, String(seq),
                String(queueCap),
            ]
        )
    }
}

/// A page of a sync queue.
struct QueuePage: Sendable {
    /// Entries of a full page.
    static let limit = 64
    /// Bytes of a page, of which the last entry may be beyond: what one read may put before a socket that takes nothing.
    static let byteLimit = 256 * 1024

    private(set) var entries: [(q: Int64, event: ByteBuffer)] = []
    /// There may be more behind it.
    let wasFull: Bool

    /// Reads what comes after `cursor`.
    static func command(user: UserID, after cursor: Int64, limit: Int = limit) -> RedisCommand {
        RedisCommand("XRANGE", Keys.queue(user), "(0-\(cursor)", "+", "COUNT", String(limit)).counted(as: .sync)
    }

    init?(_ reply: RESPValue) {
        guard let items = reply.array else { return nil }
        var bytes = 0
        for item in items where bytes < Self.byteLimit {
            guard let parts = item.array, parts.count == 2, let id = parts[0].string, id.hasPrefix("0-"),
                let q = Int64(id.dropFirst(2)), let fields = parts[1].array, fields.count == 2,
                let event = fields[1].bytes
            else { return nil }
            entries.append((q, event))
            bytes += event.readableBytes
        }
        wasFull = items.count == Self.limit || entries.count < items.count
    }
}

/// Heads of queues, for readers that may have missed a wake-up, and what became of their leases.
struct Positions: Sendable {
    let epoch: String
    let heads: [(head: Int64, isRevoked: Bool, presence: PresenceReply?)]

    /// - Parameter lease: milliseconds for which leases are renewed.
    static func command(_ readers: [ReaderPosition], gateway: String, lease: Int64) -> RedisCommand {
        RedisFunctions.call(
            "positions",
            keys: [Keys.epoch]
                + readers.flatMap {
                    [
                        Keys.queue($0.user), Keys.revoked($0.user, $0.login), Keys.presence($0.user),
                        Keys.expiries($0.user),
                    ]
                },
            [gateway, String(lease)]
                + readers.flatMap { [$0.user.description, $0.lease?.holder ?? "", $0.lease?.session ?? ""] }
        ).counted(as: .sync)
    }

    init?(_ reply: RESPValue) {
        guard let parts = reply.array, let epoch = parts.first?.string else { return nil }
        self.epoch = epoch
        var heads: [(Int64, Bool, PresenceReply?)] = []
        for index in stride(from: 1, to: parts.count - 1, by: 2) {
            guard let words = parts[index].string?.split(separator: " "), words.count == 2, let head = Int64(words[0])
            else { return nil }
            heads.append((head, words[1] == "1", PresenceReply(parts[index + 1])))
        }
        self.heads = heads
    }
}

/// An event at its place in a user's queue, as it is published to the gateways that hold the user's sessions.
struct PublishedEntry {
    let epoch: String
    let q: Int64
    let event: ByteBuffer
    /// Of a message, what a delivered receipt says.
    let delivery: DeliveredMessage?

    /// - Parameter delivery: nil for what its sender alone gets.
    init(epoch: String, q: Int64, event: ByteBuffer, delivery: DeliveredMessage? = nil) {
        self.epoch = epoch
        self.q = q
        self.event = event
        self.delivery = delivery
    }

    /// - Parameter payload: `<epoch> <q> <event>`.
    init?(_ payload: ByteBuffer) {
        guard let (epoch, place, event) = PublishedWords.split(payload),
            let q = PublishedWords.integer(place.readableBytesView)
        else { return nil }
        self.init(epoch: epoch, q: q, event: event, delivery: DeliveredMessage(event))
    }
}

/// One event at its places in the queues of many members of a group, as it is published to all gateways.
struct PublishedFanOut {
    private let epoch: String
    private let places: ByteBuffer
    private let event: ByteBuffer
    private let delivery: DeliveredMessage?

    /// - Parameter payload: `<epoch> <user>,<q>,<user>,<q>… <event>`.
    init?(_ payload: ByteBuffer) {
        guard let words = PublishedWords.split(payload) else { return nil }
        (epoch, places, event) = words
        delivery = DeliveredMessage(event)
    }

    func forEach(_ body: (_ user: UserID, _ q: Int64) -> Void) {
        places.withUnsafeReadableBytes { bytes in
            var rest = bytes[...]
            func next() -> Slice<UnsafeRawBufferPointer> {
                let word = rest.prefix { $0 != UInt8(ascii: ",") }
                rest = rest.dropFirst(word.count + 1)
                return word
            }
            while !rest.isEmpty {
                guard let user = UserID(utf8: UnsafeRawBufferPointer(rebasing: next())),
                    let q = PublishedWords.integer(next())
                else { return }
                body(user, q)
            }
        }
    }

    func entry(at q: Int64) -> PublishedEntry {
        PublishedEntry(epoch: epoch, q: q, event: event, delivery: delivery)
    }
}

private enum PublishedWords {
    /// `<epoch> <place or places> <event>`.
    static func split(_ payload: ByteBuffer) -> (epoch: String, place: ByteBuffer, event: ByteBuffer)? {
        let view = payload.readableBytesView
        guard let first = view.firstIndex(of: UInt8(ascii: " ")),
            let second = view[(first + 1)...].firstIndex(of: UInt8(ascii: " "))
        else { return nil }
        return (
            String(decoding: view[..<first], as: UTF8.self), ByteBuffer(view[(first + 1)..<second]),
            ByteBuffer(view[(second + 1)...])
        )
    }

    static func integer(_ digits: some Collection<UInt8>) -> Int64? {
        var number: Int64 = 0
        for byte in digits {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
            number = number &* 10 &+ Int64(byte - UInt8(ascii: "0"))
        }
        return digits.isEmpty ? nil : number
    }
}

/// What else travels on a user's channel.
enum UserNotice: Sendable, Hashable {
    /// The login's sessions end.
    case revoked(login: String)
    /// A newer session of the device has begun.
    case replaced(device: String, session: String)
    /// Somebody writes in a conversation.
    case typing(conversation: ConversationID, user: UserID)
    /// Members of a group have got further.
    case receipts([ServerFrame.Receipt])

    init?(_ payload: ByteBuffer) {
        guard payload.readableBytesView.first == UInt8(ascii: "!") else { return nil }
        let words = String(buffer: payload).dropFirst().split(separator: " ")
        switch (words.first, words.count) {
        case ("revoked", 2): self = .revoked(login: String(words[1]))
        case ("replaced", 3): self = .replaced(device: String(words[1]), session: String(words[2]))
        case ("typing", 3):
            guard let conversation = ConversationID(words[1]), let user = UserID(words[2]) else { return nil }
            self = .typing(conversation: conversation, user: user)
        case ("receipts", 3):
            guard let conversation = ConversationID(words[1]) else { return nil }
            self = .receipts([ServerFrame.Receipt](of: conversation, published: words[2]))
        default: return nil
        }
    }

    var payload: String {
        switch self {
        case .revoked(let login): "!revoked \(login)"
        case .replaced(let device, let session): "!replaced \(device) \(session)"
        case .typing(let conversation, let user): "!typing \(conversation) \(user)"
        case .receipts(let receipts):
            "!receipts \(receipts.first?.conv.description ?? "") "
                + receipts.map { "\($0.user):\($0.read ?? 0):\($0.delivered ?? 0)" }.joined(separator: ",")
        }
    }
}
