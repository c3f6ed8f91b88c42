import ParleyWire

/// Who takes part in the conversations of a ledger. Devices are numbered from 0; those of conversation c are the
/// `size` from c × size on.
struct LedgerMap: Codable, Sendable {
    struct Device: Codable, Sendable {
        var user: UserID
        var device: DeviceID
    }

    /// Tells the run's messages from another's: 22 random bits.
    var run: UInt32
    var devices: [Device]
    var conversations: [ConversationID]
    /// Devices a conversation.
    var size: Int
    /// Ledgers of the run, of which this is one's.
    var ledgers: Int

    /// - Parameter seats: those of each conversation together, in the conversations' order.
    init(
        _ conversations: [ConversationID],
        _ seats: [Seat],
        ledgers: Int = 1,
        run: UInt32 = .random(in: 0..<1 << 22)
    ) {
        (self.run, self.ledgers) = (run, ledgers)
        self.conversations = conversations
        size = conversations.isEmpty ? 1 : seats.count / conversations.count
        devices = seats.map { Device(user: $0.user, device: $0.device) }
    }

    func conversation(of device: Int) -> Int { device / size }

    func devices(of conversation: Int) -> Range<Int> { conversation * size..<(conversation + 1) * size }
}
