import NIOCore
import ParleyWire

/// What a delivered receipt needs of an event, read from its fixed beginning:
/// `{"mid":"…","ts":…,"seq":…,"type":"message","conv":"…","from":"…"`.
struct DeliveredMessage {
    let conversation: ConversationID
    let sender: UserID
    let seq: Int64
    /// Milliseconds since 1970.
    let timestamp: Int64

    init?(_ event: ByteBuffer) {
        let found: DeliveredMessage? = event.withUnsafeReadableBytes { bytes in
            guard bytes.count > 8, bytes[2] == UInt8(ascii: "m") else { return nil }
            var scanner = JSONScanner(bytes)
            var (conversation, sender, seq): (ConversationID?, UserID?, Int64?) = (nil, nil, nil)
            var timestamp: Int64?
            guard (try? scanner.beginObject()) != nil else { return nil }
            while sender == nil, let key = try? scanner.nextKey(), let value = try? scanner.value() {
                switch key.string() {
                case "ts": timestamp = value.integer()
                case "seq": seq = value.integer()
                case "conv": conversation = value.identifier()
                case "from": sender = value.identifier()
                default: break
                }
            }
            guard let conversation, let sender, let seq, let timestamp else { return nil }
            return DeliveredMessage(conversation: conversation, sender: sender, seq: seq, timestamp: timestamp)
        }
        guard let found else { return nil }
        self = found
    }

    private init(conversation: ConversationID, sender: UserID, seq: Int64, timestamp: Int64) {
        self.conversation = conversation
        self.sender = sender
        self.seq = seq
        self.timestamp = timestamp
    }
}
