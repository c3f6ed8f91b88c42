/// What a ledger hears of, one thing at a time. A journal is a list of these, so that what was judged during the run
/// can be judged again from the file.
enum LedgerInput: Sendable, Equatable {
    /// A message was due at `scheduled` nanoseconds of the monotonic clock; its place in the ledger is the next one.
    case sent(sender: Int, scheduled: Int64, isMeasured: Bool, cidHigh: UInt64)
    case acknowledged(index: Int, mid: UInt64, seq: Int64)
    /// Its send went out again after an error.
    case repeated(index: Int)
    /// Refused for good.
    case refused(index: Int)
    /// A device got a copy on its socket.
    case delivered(MessageTag?, device: Int, mid: UInt64, seq: Int64)
    /// A device was told to take what it missed from history.
    case resynced(device: Int)
    /// A device that resynced read this in history.
    case caughtUp(MessageTag?, device: Int, mid: UInt64, seq: Int64)
    /// An answer to a send that nobody here made.
    case strayAnswer(device: Int, mid: UInt64, seq: Int64)
    /// A conversation's history at the end of the run, whole and oldest first.
    case history(conversation: Int, [HistoryEntry])
}

/// A message as history holds it.
struct HistoryEntry: Sendable, Equatable {
    var mid: UInt64
    var seq: Int64
    /// Nil where the body is not one of this generator's.
    var tag: MessageTag?
}
