/// What broke the promise. Zero everywhere, or the run failed.
struct Violations: Equatable, Codable, Sendable {
    enum Kind: String, CaseIterable, Codable, Sendable {
        /// Acknowledged, and missing on a device or in history.
        case lost
        /// A second copy on a device or in history, or a second identity.
        case duplicated
        /// Out of order on a device, in history, or against the order of one connection's sends; a hole in the seqs.
        case reordered
        /// On a device or in a history where it does not belong.
        case leaked
        /// A friend shown otherwise than they are.
        case wrong
    }

    struct Item: Equatable, Codable, Sendable {
        var kind: Kind
        /// Which message, and where.
        var message: String
    }

    /// So many of a kind are listed; all are counted.
    static let listed = 100

    private(set) var lost = 0
    private(set) var duplicated = 0
    private(set) var reordered = 0
    private(set) var leaked = 0
    private(set) var wrong = 0
    /// The first of each kind.
    private(set) var items: [Item] = []

    var isEmpty: Bool { lost + duplicated + reordered + leaked + wrong == 0 }

    mutating func add(_ kind: Kind, count: Int = 1, _ message: String) {
        guard count > 0 else { return }
        switch kind {
        case .lost: lost += count
        case .duplicated: duplicated += count
        case .reordered: reordered += count
        case .leaked: leaked += count
        case .wrong: wrong += count
        }
        list(Item(kind: kind, message: message))
    }

    private mutating func list(_ item: Item) {
        guard items.count < Self.listed || items.count(where: { $0.kind == item.kind }) < Self.listed else { return }
        items.append(item)
    }

    static func += (left: inout Violations, right: Violations) {
        left.lost += right.lost
        left.duplicated += right.duplicated
        left.reordered += right.reordered
        left.leaked += right.leaked
        left.wrong += right.wrong
        for item in right.items { left.list(item) }
    }
}
