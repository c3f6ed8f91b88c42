import ParleyCore
import ParleyWire
import RedisClient

/// Reads what many lanes hold after a position each, a part of each with one question; no I/O.
struct LaneTails {
    private var messages: [StoredMessage] = []
    /// After which to go on, of lanes that have more.
    private var starts: [Lane: String]
    /// Of these conversations.
    private let wanted: Set<ConversationID>
    /// Entries that may still come.
    private var room: Int
    private var asked: [Lane] = []
    private var limit = 0

    /// Entries that one question takes at most, or one a lane.
    private static let size = 5000

    init(after positions: [Lane: UInt64], of wanted: Set<ConversationID>, room: Int) {
        starts = positions.mapValues { MessageID(rawValue: $0).map(\.streamID) ?? "0-0" }
        self.wanted = wanted
        self.room = room
    }

    /// What to ask next; nil when everything was read, or there is no room for more.
    var question: RedisCommand? {
        mutating get {
            guard !starts.isEmpty, room > 0 else { return nil }
            asked = Array(starts.keys)
            limit = max(Self.size / asked.count, 1)
            let command = ["XREAD", "COUNT", String(limit), "STREAMS"] + asked.map(Keys.lane)
            return RedisCommand(command + asked.compactMap { starts[$0] })
        }
    }

    mutating func take(_ reply: RESPValue) {
        let lanes = Dictionary(uniqueKeysWithValues: asked.map { (Keys.lane($0), $0) })
        starts = [:]
        for stream in reply.array ?? [] {
            guard let parts = stream.array, parts.count == 2, let lane = parts[0].string.flatMap({ lanes[$0] }) else {
                continue
            }
            let entries = CommitLog.entries(parts[1])
            messages += entries.compactMap { try? $0.message(in: lane) }.filter { wanted.contains($0.conversation) }
            room -= entries.count
            if entries.count == limit { starts[lane] = entries.last?.streamID }
        }
    }

    /// Of each lane in order, of several in none.
    /// - Throws: `HistoryError.backlogTooLong` where not everything was read.
    func result() throws -> [StoredMessage] {
        guard starts.isEmpty else { throw HistoryError.backlogTooLong }
        return messages
    }
}
