/// Where a session stands in its user's sync queue, and what an entry, a page or a head means for it.
///
/// A published entry is only a wake-up that happens to carry the data: it is written when it is the next one and the
/// socket takes it; anything else sends the gateway to the stream. Nothing is buffered here: while pages are read,
/// published entries are ignored, for they stand in the stream too.
public struct SyncState: Sendable, Equatable {
    public enum Phase: Sendable, Equatable {
        /// Published entries go straight to the socket.
        case live
        /// A page is being read.
        case reading
        /// The socket takes nothing more for now; the stream keeps what comes.
        case lagging
    }

    public enum Action: Sendable, Equatable {
        case none
        /// Write this entry to the socket.
        case write
        /// Read the stream after `cursor`.
        case read
        /// Write nothing of the page, for the cursor has moved under it; read the stream after `cursor`.
        case reread
        /// Tell the client that it is up to date, as it asked to be told.
        case announceLive
        /// The queue no longer has what this session needs, or never had what it claims: close for a resync.
        case resync
    }

    /// The last position written to the socket.
    public private(set) var cursor: Int64
    public private(set) var phase: Phase
    /// The highest position heard of.
    private var knownHead: Int64
    /// What the page under way must reach: what is heard of later may have been appended after the page was made.
    private var headAtRead: Int64
    private var isPageStale = false
    private var owesLive: Bool

    /// - Parameters:
    ///   - cursor: the position that the client has.
    ///   - head: the queue's head as far as known.
    ///   - announcesLive: whether the client waits for the `live` frame; then the first action is `.read`.
    public init(cursor: Int64, head: Int64, announcesLive: Bool) {
        self.cursor = cursor
        knownHead = head
        headAtRead = head
        owesLive = announcesLive
        phase = announcesLive ? .reading : .live
    }

    /// An entry was published.
    public mutating func published(_ q: Int64, isWritable: Bool) -> Action {
        knownHead = max(knownHead, q)
        guard phase == .live, q > cursor else { return .none }
        guard isWritable else {
            phase = .lagging
            return .none
        }
        if q == cursor + 1 {
            cursor = q
            return .write
        }
        return read()
    }

    private mutating func read() -> Action {
        phase = .reading
        headAtRead = knownHead
        return .read
    }

    /// A page was read after `cursor`; its entries are `first...last` (nil for an empty page). On `.resync` and
    /// `.reread` nothing of it may be written; otherwise all of it was or will be written.
    public mutating func pageRead(first: Int64?, last: Int64?, wasFull: Bool, isWritable: Bool) -> Action {
        precondition(phase == .reading, "a page that nobody asked for")
        if isPageStale {
            isPageStale = false
            _ = read()
            return .reread
        }
        if let first, let last {
            guard first == cursor + 1 else { return .resync }
            cursor = last
        } else if headAtRead > cursor {
            // Announced, but not there: trimmed or lost.
            return .resync
        }
        knownHead = max(knownHead, cursor)
        if wasFull || knownHead > cursor {
            guard isWritable else {
                phase = .lagging
                return .none
            }
            return read()
        }
        phase = .live
        defer { owesLive = false }
        return owesLive ? .announceLive : .none
    }

    /// The page could not be read; it is asked for again later.
    public mutating func pageFailed() {
        precondition(phase == .reading)
        isPageStale = false
        phase = .lagging
    }

    /// The socket takes bytes again, or a failed read may be tried again.
    public mutating func resumed() -> Action {
        guard phase == .lagging else { return .none }
        return read()
    }

    /// The queue's head was looked up.
    public mutating func positionChecked(head: Int64) -> Action {
        if head < cursor { return .resync }
        knownHead = max(knownHead, head)
        guard phase == .live, head > cursor else { return .none }
        return read()
    }

    /// The client asks for everything after `q` again. The caller has checked that the queue still has it.
    public mutating func rewound(to q: Int64) -> Action {
        cursor = q
        owesLive = true
        guard phase != .reading else {
            // The page under way begins where the cursor was.
            isPageStale = true
            return .none
        }
        return read()
    }
}
