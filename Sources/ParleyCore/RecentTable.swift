/// What was used lately, by key, in bounded memory: who fills it with new keys drives out what was not used for longest.
///
/// Two generations: a value is moved into the young one when it is asked for, and the old one goes as a whole when the
/// young one is full. So each step costs the same, and what was used within the last `capacity` keys is there.
public struct RecentTable<Key: Hashable, Value> {
    /// Of one generation.
    public let capacity: Int
    private var young: [Key: Value] = [:]
    private var old: [Key: Value] = [:]

    public init(capacity: Int) { self.capacity = max(1, capacity) }

    /// At most twice the capacity.
    public var count: Int { young.count + old.count }

    /// - Parameter fresh: made for a key that is not there.
    public mutating func value(for key: Key, orMake fresh: () -> Value) -> Value {
        if let value = self.value(for: key) { return value }
        let value = fresh()
        set(value, for: key)
        return value
    }

    /// nil for a key that is not there.
    public mutating func value(for key: Key) -> Value? {
        if let value = young[key] { return value }
        guard let value = old.removeValue(forKey: key) else { return nil }
        set(value, for: key)
        return value
    }

    public mutating func set(_ value: Value, for key: Key) {
        if young.count >= capacity, young[key] == nil {
            old = young
            young = [:]
        }
        young[key] = value
    }
}

extension RecentTable: Sendable where Key: Sendable, Value: Sendable {}
