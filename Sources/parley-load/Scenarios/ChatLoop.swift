import Foundation
import NIOCore
import ParleyClient
import ParleyWire

/// Chat between pairs on one event loop: sends when they are due, whatever came back so far, and measures from then.
final class ChatLoop {
    struct Plan: Sendable {
        var seats: [Seat]
        /// Messages a second on this loop.
        var rate: Double
        var bodyBytes: Int
        /// Exponential gaps between sends; else equal ones.
        var isPoisson: Bool
    }

    let fleet: Fleet
    private(set) var ledger: DeliveryLedger
    private(set) var results = ChatResults()
    /// Since the last progress line: the deliveries to partners, and the answers.
    private var recent = Latencies()
    private var recentAcks = 0
    private let plan: Plan
    /// The rest of a body after its tag, and the end of the frame.
    private let filler: String
    private var senders: [Sender]
    private var arrived: [Bool]
    private var nextDue: Int64 = 0
    private var measureFrom: Int64 = 0
    private var end: Int64 = 0
    private var generator = SystemRandomNumberGenerator()

    /// A device's sends that wait for an answer.
    private struct Sender {
        /// The frame's part between the cid and the tag.
        var target: String
        var unanswered: [Int] = []
        /// Due, but held back by the protocol's bound on unanswered sends, or by a connection that is away.
        var held: [Int] = []
    }

    /// The protocol's bound on unanswered sends of a socket.
    static let window = 32

    init(plan: Plan, eventLoop: any EventLoop) {
        self.plan = plan
        fleet = Fleet(eventLoop: eventLoop)
        ledger = DeliveryLedger(devices: plan.seats.count, run: .random(in: 0..<1 << 22))
        arrived = Array(repeating: false, count: plan.seats.count)
        senders = plan.seats.indices.map { index in
            let partner = plan.seats[DeliveryLedger.partner(of: index)].user
            return Sender(target: "\",\"to\":\"\(partner)\",\"body\":\"")
        }
        filler = String(repeating: "x", count: max(0, plan.bodyBytes - MessageTag.digits)) + "\"}"
        fleet.add(plan.seats, owner: self)
    }

    /// Starts sending at once; messages due from `warmup` on are measured, and the last is due before the end.
    func start(warmup: TimeAmount, duration: TimeAmount) {
        nextDue = Clock.nanoseconds()
        measureFrom = nextDue + warmup.nanoseconds
        end = measureFrom + duration.nanoseconds
        pump()
    }

    private func pump() {
        let now = Clock.nanoseconds()
        while nextDue <= now, nextDue < end {
            send(due: nextDue)
            let gap = 1e9 / plan.rate
            let factor = plan.isPoisson ? -log(Double.random(in: Double.ulpOfOne..<1, using: &generator)) : 1
            nextDue += Int64(gap * factor)
        }
        guard nextDue < end else { return }
        fleet.eventLoop.assumeIsolated().scheduleTask(deadline: .uptimeNanoseconds(UInt64(nextDue))) { self.pump() }
    }

    private func send(due: Int64) {
        let sender = Int.random(in: 0..<senders.count, using: &generator)
        let isMeasured = due >= measureFrom
        let (index, _) = ledger.send(
            from: sender,
            scheduled: due,
            isMeasured: isMeasured,
            unixMilliseconds: Clock.unixMilliseconds() + fleet.devices[sender].clockOffset,
            random: generator.next()
        )
        if isMeasured { results.sent += 1 }
        senders[sender].held.append(index)
        release(sender)
    }

    /// Sends what is due, within the bound.
    private func release(_ sender: Int) {
        let device = fleet.devices[sender]
        guard device.isReady else { return }
        while !senders[sender].held.isEmpty, senders[sender].unanswered.count < Self.window {
            let index = senders[sender].held.removeFirst()
            senders[sender].unanswered.append(index)
            transmit(index, on: device)
        }
    }

    private func transmit(_ index: Int, on device: Device) {
        guard let cid = ledger.cid(of: index) else { return }
        device.socket?.sendText { buffer in
            buffer.writeStaticString("{\"op\":\"send\",\"cid\":\"")
            cid.write(into: &buffer)
            buffer.writeString(senders[device.index].target)
            MessageTag(cid).write(into: &buffer)
            buffer.writeString(filler)
        }
    }
}

extension ChatLoop: DeviceOwner {
    func received(_ frame: FrameScan, on device: Device) {
        let now = Clock.nanoseconds()
        if frame.operation == .sent {
            guard let cid = frame.cid else { return }
            let arrival = ledger.acknowledged(cid, to: device.index, mid: frame.mid, seq: frame.seq)
            if case .first(let scheduled, let isMeasured) = arrival {
                recentAcks += 1
                if isMeasured { results.acknowledged(after: now - scheduled) }
            }
            answered(cid, on: device)
        } else if frame.isMessage {
            let arrival = ledger.delivered(frame.tag, to: device.index, mid: frame.mid, seq: frame.seq)
            guard case .first(let scheduled, let isMeasured) = arrival else { return }
            // The sender's own copy carries the cid.
            let isPartner = frame.cid == nil
            if isPartner { recent.record(now - scheduled) }
            if isMeasured { results.delivered(after: now - scheduled, toPartner: isPartner) }
        }
    }

    private func answered(_ cid: ClientMessageID, on device: Device) {
        guard let index = ledger.index(of: cid, from: device.index) else { return }
        if let place = senders[device.index].unanswered.firstIndex(of: index) {
            senders[device.index].unanswered.remove(at: place)
        }
        release(device.index)
    }

    func received(_ failure: ServerFrame.Failure, on device: Device) {
        results.errors[failure.code.rawValue, default: 0] += 1
        guard let cid = failure.cid?.cid, let index = ledger.index(of: cid, from: device.index) else { return }
        switch failure.code {
        case .rateLimited, .overloaded, .unavailable:
            ledger.repeated(index)
            let delay = TimeAmount.milliseconds(failure.retryMilliseconds ?? 1000)
            fleet.eventLoop.assumeIsolated().scheduleTask(in: delay) {
                // A reconnect may have repeated it already, or an answer come.
                if device.isReady, self.senders[device.index].unanswered.contains(index) {
                    self.transmit(index, on: device)
                }
            }
        default:
            ledger.refused(index)
            answered(cid, on: device)
        }
    }

    func ready(_ ready: ServerFrame.Ready, on device: Device) {
        fleet.arrived(ready, isFirst: !arrived[device.index])
        if arrived[device.index], ready.mode == .resync { ledger.resynced(device.index) }
        arrived[device.index] = true
        for index in senders[device.index].unanswered { transmit(index, on: device) }
        release(device.index)
    }

    func lost(_ device: Device, wasReady: Bool, reason: String, isFinal: Bool) {
        fleet.departed(device, wasReady: wasReady, reason: reason, isFinal: isFinal)
    }
}

extension ChatLoop {
    struct Progress: Sendable {
        var recent: Latencies
        var acked: Int
        var connected: Int
        var errors: Int
    }

    /// What happened since the last call; errors of the whole run.
    func takeProgress() -> Progress {
        let progress = Progress(
            recent: recent,
            acked: recentAcks,
            connected: fleet.counts.connected,
            errors: results.errors.values.reduce(0, +)
        )
        recent = Latencies()
        recentAcks = 0
        return progress
    }
}
