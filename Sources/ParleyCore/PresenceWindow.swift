public import ParleyWire

/// Changes on their way to one client. The first goes at once and opens a window; what comes while it is open goes
/// together at its end, of each user the last state alone. A client that takes nothing keeps its window open.
public struct PresenceWindow: Sendable, Equatable {
    /// In milliseconds.
    public static let length: Int64 = 250

    private var waiting: [UserID] = []
    private var isOpen = false

    public init() {}

    public enum Action: Sendable, Equatable {
        case none
        /// Tell of the change, and call `ended` after a window's length.
        case tell
        /// Call `ended` after a window's length.
        case wait
    }

    public mutating func changed(_ user: UserID, isWritable: Bool) -> Action {
        if !isOpen, isWritable {
            isOpen = true
            return .tell
        }
        if !waiting.contains(user) { waiting.append(user) }
        defer { isOpen = true }
        return isOpen ? .none : .wait
    }

    /// - Returns: whom to tell of now; and whether to call this again after another window's length.
    public mutating func ended(isWritable: Bool) -> (users: [UserID], again: Bool) {
        guard isWritable else { return ([], true) }
        defer { waiting = [] }
        isOpen = !waiting.isEmpty
        return (waiting, isOpen)
    }
}
