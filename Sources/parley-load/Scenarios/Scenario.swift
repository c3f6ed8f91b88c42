/// A kind of load, on one event loop. All members belong to that loop.
///
/// A new one is a file here, its numbers in ``LoadPlan``, and a line in ``LocalWorker``.
protocol Scenario: DeviceOwner {
    var fleet: Fleet { get }
    /// Offers load through the phase, by schedule: whatever came back so far.
    func begin(_ phase: Phase)
    /// Offers no more load.
    func stop()
    func takeProgress() -> Progress
    /// Of the phase that is over; the next begins with none.
    func takeResults() -> PhaseResults
    /// The histories to read back.
    func readings() -> [HistoryCheck.Reading]
    func record(_ history: [HistoryEntry], of conversation: Int)
    /// Nothing more is told of.
    func finish()
    /// The judgement of what was told so far.
    func outcome() -> Outcome
}

extension Scenario {
    func finish() {}
}

extension Violations {
    /// Of somebody who is in no conversation: whatever message comes is not theirs.
    mutating func addStray(_ frame: FrameScan, on device: Device) {
        guard frame.isMessage || frame.operation == .sent else { return }
        let name = "\(device.seat.user) (\(device.seat.device))"
        add(.leaked, "message \(frame.mid) (seq \(frame.seq)) reached \(name), who is in no conversation")
    }
}
