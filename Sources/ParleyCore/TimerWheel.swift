/// Periodic turns for many elements with one timer: each element stands in one slot, and its turn comes when the wheel
/// passes there. (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987, with one period for all.)
public struct TimerWheel<Element: Hashable> {
    private var slots: [Set<Element>]
    private var position = 0

    /// - Parameter slotCount: how many ticks one turn takes.
    public init(slotCount: Int) {
        precondition(slotCount > 0)
        slots = Array(repeating: [], count: slotCount)
    }

    public var slotCount: Int { slots.count }

    /// - Parameter slot: any of `0..<slotCount`; a random one spreads the load.
    public mutating func insert(_ element: Element, slot: Int) { slots[slot].insert(element) }

    public mutating func remove(_ element: Element, slot: Int) { slots[slot].remove(element) }

    /// One tick: the elements whose turn it is. They stay in the wheel.
    public mutating func advance() -> Set<Element> {
        position = (position + 1) % slots.count
        return slots[position]
    }
}
