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
    /// The judgement, once all is read.
    func outcome() -> Outcome
}
