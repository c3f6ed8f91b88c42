/// Lets so many do at once what thousands may want to do together, in the order in which they came. What goes the same way
/// and must not wait finds but few before it.
public struct Turnstile<Visitor> {
    private let width: Int
    private var inside = 0
    /// Those before `first` were called.
    private var waiting: [Visitor?] = []
    private var first = 0

    public init(width: Int) { self.width = width }

    /// - Returns: whether the visitor goes in now; otherwise one of the `left` to come calls them.
    public mutating func arrived(_ visitor: Visitor) -> Bool {
        guard inside < width else {
            waiting.append(visitor)
            return false
        }
        inside += 1
        return true
    }

    /// One who was inside is no more.
    /// - Returns: who goes in instead.
    public mutating func left() -> Visitor? {
        guard first < waiting.count else {
            (waiting, first) = ([], 0)
            inside -= 1
            return nil
        }
        defer {
            waiting[first] = nil
            first += 1
        }
        return waiting[first]
    }
}
