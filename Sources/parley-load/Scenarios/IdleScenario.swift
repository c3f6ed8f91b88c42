import NIOCore
import ParleyClient
import ParleyWire

/// Idle sessions: signed in, heartbeats answered, nothing sent.
final class IdleScenario: Scenario {
    let fleet: Fleet
    private var violations = Violations()

    init(seats: [Seat], eventLoop: any EventLoop) {
        fleet = Fleet(eventLoop: eventLoop)
        fleet.add(seats, owner: self)
    }

    func begin(_ phase: Phase) {}
    func stop() {}
    func takeProgress() -> Progress { Progress(connected: fleet.counts.connected) }
    func takeResults() -> PhaseResults { PhaseResults() }
    func readings() -> [HistoryCheck.Reading] { [] }
    func record(_ history: [HistoryEntry], of conversation: Int) {}
    func outcome() -> Outcome {
        Outcome(fleet: fleet.counts, violations: violations, heartbeatsAnswered: fleet.pingsAnswered)
    }

    func received(_ frame: FrameScan, on device: Device) { violations.addStray(frame, on: device) }
    func received(_ failure: ServerFrame.Failure, on device: Device) {}
    func ready(_ ready: ServerFrame.Ready, on device: Device) { fleet.arrived(ready, device) }
    func lost(_ device: Device, wasReady: Bool, reason: String, isFinal: Bool) {
        fleet.departed(device, wasReady: wasReady, reason: reason, isFinal: isFinal)
    }
}
