/// The ledger, and the journal that keeps what the ledger is told.
struct Recorder {
    private(set) var ledger: DeliveryLedger
    private let journal: Journal?

    /// - Parameter path: of the journal; nil for none.
    init(_ map: LedgerMap, journal path: String?) throws {
        ledger = DeliveryLedger(map)
        journal = try path.map { try Journal(path: $0, map: map) }
    }

    /// Why the journal is incomplete.
    var failure: String? { journal?.failure }

    @discardableResult
    mutating func record(_ input: LedgerInput) -> DeliveryLedger.Arrival {
        journal?.append(input)
        return ledger.apply(input)
    }

    mutating func late(before deadline: Int64) -> Int { ledger.late(before: deadline) }

    /// Ends the journal.
    func finish() { journal?.finish() }
}
