import Foundation
import NIOCore
import ParleyClient
import ParleyWire

/// Chat between two or in groups: sends when they are due, whatever came back so far, and measures from then.
final class ChatScenario: Scenario {
    /// The protocol's bound on unanswered sends of a socket.
    static let window = 32
    /// Due so long ago, acknowledged, and not everywhere: late. In nanoseconds.
    static let patience: Int64 = 5_000_000_000

    let fleet: Fleet
    private let plan: LoadPlan.Chat
    /// The rest of a body after its tag, and the end of the frame.
    private let filler: String
    var recorder: Recorder
    var senders: [Sender]
    /// The devices that write.
    private let writers: [Int]
    var results = PhaseResults()
    /// Since the last progress line.
    var recent = Latencies()
    var recentAcks = 0
    /// Of the whole run.
    var errorCount = 0
    private var phase: Phase?
    private var nextDue: Int64 = 0
    private var generator = SystemRandomNumberGenerator()

    /// A device's sends that wait for an answer.
    struct Sender {
        /// The frame's part between the cid and the tag.
        var target: String
        var unanswered: [Int] = []
        /// Due, but held back by the protocol's bound on unanswered sends, or by a connection that is away.
        var held: [Int] = []
    }

    /// - Parameters:
    ///   - map: who is in which conversation; its devices are the seats.
    ///   - journal: a path; nil for none.
    init(
        _ plan: LoadPlan.Chat,
        seats: [Seat],
        map: LedgerMap,
        journal: String?,
        eventLoop: any EventLoop
    ) throws {
        self.plan = plan
        fleet = Fleet(eventLoop: eventLoop)
        recorder = try Recorder(map, journal: journal)
        senders = seats.indices.map { index in
            let conversation = map.conversations[map.conversation(of: index)]
            // Naming the other opens the conversation.
            guard let peer = conversation.peer(of: seats[index].user) else {
                return Sender(target: "\",\"conv\":\"\(conversation)\",\"body\":\"")
            }
            return Sender(target: "\",\"to\":\"\(peer)\",\"body\":\"")
        }
        writers = seats.indices.filter { seats[$0].listens == nil }
        filler = String(repeating: "x", count: max(0, plan.bodyBytes - MessageTag.digits)) + "\"}"
        fleet.add(seats, owner: self)
    }

    func begin(_ phase: Phase) {
        self.phase = phase
        nextDue = phase.start
        schedule()
    }

    func stop() {
        phase = nil
    }

    private func schedule() {
        guard let phase, nextDue < phase.end else { return }
        let deadline = NIODeadline.uptimeNanoseconds(UInt64(nextDue))
        fleet.eventLoop.assumeIsolated().scheduleTask(deadline: deadline) { self.pump() }
    }

    private func pump() {
        guard let phase else { return }
        let now = Clock.nanoseconds()
        while nextDue <= now, nextDue < phase.end {
            send(due: nextDue, isMeasured: nextDue >= phase.measureFrom)
            let gap = 1e9 / (plan.rate * phase.factor)
            let factor = plan.isPoisson ? -log(Double.random(in: Double.ulpOfOne..<1, using: &generator)) : 1
            nextDue += Int64(gap * factor)
        }
        schedule()
    }

    private func send(due: Int64, isMeasured: Bool) {
        let sender = writers[Int.random(in: writers.indices, using: &generator)]
        let milliseconds = Clock.unixMilliseconds() + fleet.devices[sender].clockOffset
        // A version 7 UUID's upper half; the lower is the message's tag.
        let cidHigh = UInt64(milliseconds) << 16 | 7 << 12 | generator.next() & 0xFFF
        senders[sender].held.append(recorder.ledger.messages.count)
        recorder.record(.sent(sender: sender, scheduled: due, isMeasured: isMeasured, cidHigh: cidHigh))
        if isMeasured { results.sent += 1 }
        release(sender)
    }

    /// Sends what is due, within the bound.
    func release(_ sender: Int) {
        let device = fleet.devices[sender]
        guard device.isReady else { return }
        while !senders[sender].held.isEmpty, senders[sender].unanswered.count < Self.window {
            let index = senders[sender].held.removeFirst()
            senders[sender].unanswered.append(index)
            transmit(index, on: device)
        }
    }

    func transmit(_ index: Int, on device: Device) {
        guard let cid = recorder.ledger.cid(of: index) else { return }
        device.socket?.sendText { buffer in
            buffer.writeStaticString("{\"op\":\"send\",\"cid\":\"")
            cid.write(into: &buffer)
            buffer.writeString(senders[device.index].target)
            MessageTag(cid).write(into: &buffer)
            buffer.writeString(filler)
        }
    }
}

// What the run asks for.
extension ChatScenario {
    func takeProgress() -> Progress {
        defer { (recent, recentAcks) = (Latencies(), 0) }
        return Progress(
            latency: recent,
            acked: recentAcks,
            connected: fleet.counts.connected,
            errors: errorCount,
            late: recorder.late(before: Clock.nanoseconds() - Self.patience),
            outstanding: recorder.ledger.outstanding,
            trouble: recorder.failure
        )
    }

    func takeResults() -> PhaseResults {
        defer { results = PhaseResults() }
        return results
    }

    func readings() -> [HistoryCheck.Reading] {
        let map = recorder.ledger.map
        return usedConversations().map { index in
            reading(of: index, map.conversations[index], by: fleet.devices[map.devices(of: index).lowerBound])
        }
    }

    /// Those with messages.
    private func usedConversations() -> [Int] {
        let map = recorder.ledger.map
        var isUsed = Array(repeating: false, count: map.conversations.count)
        for message in recorder.ledger.messages { isUsed[map.conversation(of: Int(message.sender))] = true }
        return isUsed.indices.filter { isUsed[$0] }
    }

    private func reading(of conversation: Int, _ id: ConversationID, by device: Device) -> HistoryCheck.Reading {
        HistoryCheck.Reading(
            conversation: conversation,
            id: id,
            credentials: device.credentials,
            gateways: device.seat.gateways,
            gateway: device.gatewayIndex
        )
    }

    func record(_ history: [HistoryEntry], of conversation: Int) {
        recorder.record(.history(conversation: conversation, history))
    }

    func finish() {
        recorder.finish()
    }

    func outcome() -> Outcome {
        Outcome(
            fleet: fleet.counts,
            violations: recorder.ledger.verdict(),
            conversations: usedConversations().count,
            conversationsRead: recorder.ledger.conversationsRead,
            heartbeatsAnswered: fleet.pingsAnswered,
            trouble: recorder.failure
        )
    }
}
