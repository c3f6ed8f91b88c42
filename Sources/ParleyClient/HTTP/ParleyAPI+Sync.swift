import NIOCore
import NIOHTTP1
public import ParleyWire

/// What a poll answers.
public struct SyncPage: Sendable, Hashable {
    public struct Item: Sendable, Hashable {
        public var q: Int64
        public var event: Event
    }

    public var epoch: String
    /// The last position of the queue; above that of the last event there is more already.
    public var head: Int64
    /// Those after the cursor, in order.
    public var events: [Item]
    /// The queue no longer tells everything after the cursor: what is missing stands in history up to `head`.
    public var resync: Bool

    /// What to ask with next.
    public var cursor: ClientFrame.Cursor { .init(epoch: epoch, q: events.last?.q ?? head) }
}

extension ParleyAPI {
    /// Events after a cursor, without a socket.
    /// - Parameters:
    ///   - cursor: acknowledges what is before it, for a device; nil asks where the queue stands.
    ///   - device: keeps its place in the queue; nil for a reader that leaves no trace.
    ///   - wait: seconds to wait where nothing is new, 0–30.
    ///   - limit: 1–200 events.
    public func sync(
        after cursor: ClientFrame.Cursor?,
        device: DeviceID? = nil,
        wait: Int = 0,
        limit: Int = 200,
        token: String
    ) async throws(ClientError) -> SyncPage {
        var path = "/v1/sync?limit=\(limit)&wait=\(wait)"
        // Epochs and devices need no escaping.
        if let cursor { path += "&epoch=\(cursor.epoch)&q=\(cursor.q)" }
        if let device { path += "&device=\(device)" }
        let body = try await accepted(.GET, path, token: token)
        do {
            return try SyncPage(body)
        } catch {
            throw ClientError(.badAnswer, "\(address) \(path): \(error)")
        }
    }
}

extension SyncPage {
    private enum Malformed: Error { case fieldMissing }

    init(_ body: ByteBuffer) throws {
        var (epoch, head, resync): (String?, Int64?, Bool?)
        var items: [Item] = []
        try body.readableBytesSpan.withUnsafeBytes { bytes in
            var scanner = JSONScanner(bytes)
            try scanner.beginObject()
            while let key = try scanner.nextKey()?.string() {
                switch key {
                case "epoch": epoch = try scanner.value().string()
                case "head": head = try scanner.value().integer()
                case "resync": resync = try scanner.value().bool()
                case "events":
                    try scanner.beginArray()
                    while try scanner.nextElement() {
                        // As on the socket.
                        guard case .event(let q, let event) = try ServerFrame.decode(scanner.rawValue()).operation
                        else { continue }
                        items.append(Item(q: q, event: event))
                    }
                default: try scanner.skipValue()
                }
            }
        }
        guard let epoch, let head, let resync else { throw Malformed.fieldMissing }
        (self.epoch, self.head, self.resync, events) = (epoch, head, resync, items)
    }
}
