import Foundation
import NIOCore
import ParleyClient
import ParleyWire

/// People who come, go and lose their connection for a moment, each with friends who watch. Measures from a change to the
/// sockets of those friends; at the end every picture must be the truth.
final class PresenceScenario: Scenario {
    let fleet: Fleet
    private let plan: LoadPlan.Presence
    private let indices: [UserID: Int]
    /// Of each user, what their device was last shown of each friend; nil before the first picture of a connection.
    private var shown: [[Int: Bool?]]
    /// Of each user, the last change that they made, until the next.
    private var changes: [Change?]
    /// Of each user, when they last lost a connection, in nanoseconds.
    private var losses: [Int: Int64] = [:]
    private var results = PhaseResults()
    private var recent = Latencies()
    private var recentChanges = 0
    private var errorCount = 0
    private var violations = Violations()
    private var phase: Phase?
    private var nextDue: Int64 = 0
    private var generator = SystemRandomNumberGenerator()

    private struct Change {
        var isOnline: Bool
        /// Nanoseconds.
        var at: Int64
        var isMeasured: Bool
    }

    /// Of changes that are due, so many are connections that break and come back.
    private static let flaps = 0.25

    init(_ plan: LoadPlan.Presence, seats: [Seat], eventLoop: any EventLoop) {
        self.plan = plan
        fleet = Fleet(eventLoop: eventLoop)
        indices = Dictionary(uniqueKeysWithValues: seats.enumerated().map { ($1.user, $0) })
        shown = seats.indices.map { index in
            Dictionary(uniqueKeysWithValues: plan.friends(of: index).map { ($0, Bool?.none) })
        }
        changes = Array(repeating: nil, count: seats.count)
        fleet.add(seats, owner: self)
    }

    // MARK: Load

    func begin(_ phase: Phase) {
        self.phase = phase
        nextDue = phase.start
        if plan.rate > 0 { schedule() }
    }

    func stop() { phase = nil }

    private func schedule() {
        guard let phase, nextDue < phase.end else { return }
        let deadline = NIODeadline.uptimeNanoseconds(UInt64(nextDue))
        fleet.eventLoop.assumeIsolated().scheduleTask(deadline: deadline) { self.pump() }
    }

    private func pump() {
        guard let phase else { return }
        let now = Clock.nanoseconds()
        while nextDue <= now, nextDue < phase.end {
            change(isMeasured: nextDue >= phase.measureFrom)
            let gap = -log(Double.random(in: Double.ulpOfOne..<1, using: &generator)) / (plan.rate * phase.factor)
            nextDue += Int64(gap * 1e9)
        }
        schedule()
    }

    private func change(isMeasured: Bool) {
        let index = Int.random(in: fleet.devices.indices, using: &generator)
        let device = fleet.devices[index]
        if device.isReady, Double.random(in: 0..<1, using: &generator) < Self.flaps {
            device.socket?.abort()
        } else if device.isReady {
            changes[index] = Change(isOnline: false, at: Clock.nanoseconds(), isMeasured: isMeasured)
            losses[index] = nil
            count(isMeasured)
            fleet.left()
            device.goAway()
        } else if device.mayReturn {
            // It counts from when the gateway knows.
            changes[index] = Change(isOnline: true, at: 0, isMeasured: isMeasured)
            device.comeBack()
        }
    }

    private func count(_ isMeasured: Bool) {
        recentChanges += 1
        if isMeasured { results.sent += 1 }
    }

    // MARK: What comes back

    func ready(_ ready: ServerFrame.Ready, on device: Device) {
        fleet.arrived(ready, device)
        let index = device.index
        if let change = changes[index], change.isOnline, change.at == 0 {
            changes[index]?.at = Clock.nanoseconds()
            count(change.isMeasured)
        }
        watch(device)
    }

    func moved(_ ready: ServerFrame.Ready, on device: Device) {
        fleet.moved(ready)
        watch(device)
    }

    /// As every connection must anew.
    private func watch(_ device: Device) {
        let index = device.index
        for friend in shown[index].keys { shown[index][friend] = .some(nil) }
        let friends = shown[index].keys.map { fleet.devices[$0].seat.user }
        device.socket?.send(ClientFrame(.watch(users: friends)))
    }

    func received(_ presence: ServerFrame.Presence, on device: Device) {
        guard let friend = indices[presence.user], let before = shown[device.index][friend] else { return }
        let isOnline = presence.status == .online
        shown[device.index][friend] = isOnline
        guard let before, before != isOnline else { return }
        let now = Clock.nanoseconds()
        if !isOnline, let loss = losses[friend] { results.gone.record(now - loss) }
        guard let change = changes[friend], change.isOnline == isOnline, change.at > 0 else { return }
        let took = now - change.at
        recent.record(took)
        if change.isMeasured {
            results.delivered += 1
            results.latency.record(took)
        }
    }

    func received(_ frame: FrameScan, on device: Device) { violations.addStray(frame, on: device) }

    func received(_ failure: ServerFrame.Failure, on device: Device) {
        errorCount += 1
        results.errors[failure.code.rawValue, default: 0] += 1
    }

    func lost(_ device: Device, wasReady: Bool, reason: String, isFinal: Bool) {
        fleet.departed(device, wasReady: wasReady, reason: reason, isFinal: isFinal)
        guard wasReady else { return }
        losses[device.index] = Clock.nanoseconds()
        if plan.staysAway { device.stayAway() }
    }

    // MARK: What the run asks for

    func takeProgress() -> Progress {
        defer { (recent, recentChanges) = (Latencies(), 0) }
        return Progress(
            latency: recent,
            acked: recentChanges,
            connected: fleet.counts.connected,
            errors: errorCount,
            outstanding: wrongPictures().count
        )
    }

    func takeResults() -> PhaseResults {
        defer { results = PhaseResults() }
        return results
    }

    func readings() -> [HistoryCheck.Reading] { [] }
    func record(_ history: [HistoryEntry], of conversation: Int) {}

    func outcome() -> Outcome {
        var outcome = Outcome(
            fleet: fleet.counts,
            violations: violations,
            heartbeatsAnswered: fleet.pingsAnswered
        )
        for (watcher, friend) in wrongPictures() {
            let devices = fleet.devices
            outcome.violations.add(
                .wrong,
                "\(devices[friend].seat.user) is \(devices[friend].isReady ? "online" : "offline") and not shown so to "
                    + "\(devices[watcher].seat.user)"
            )
        }
        outcome.pictures = shown.indices.filter { fleet.devices[$0].isReady }.reduce(0) { $0 + shown[$1].count }
        return outcome
    }

    /// Who is shown a friend otherwise than they are.
    private func wrongPictures() -> [(watcher: Int, friend: Int)] {
        var wrong: [(Int, Int)] = []
        for device in fleet.devices {
            // Whoever means to be there must come back first.
            guard device.isReady else {
                if !device.isAway { wrong.append((device.index, device.index)) }
                continue
            }
            for (friend, isOnline) in shown[device.index] where isOnline != fleet.devices[friend].isReady {
                wrong.append((device.index, friend))
            }
        }
        return wrong
    }
}
