import NIOCore
import ParleyClient
import ParleyWire

// What comes back.
extension ChatScenario {
    func received(_ frame: FrameScan, on device: Device) {
        let now = Clock.nanoseconds()
        if frame.operation == .sent {
            guard let cid = frame.cid else { return }
            guard let index = recorder.ledger.index(of: cid, from: device.index) else {
                recorder.record(.strayAnswer(device: device.index, mid: frame.mid, seq: frame.seq))
                return
            }
            let arrival = recorder.record(.acknowledged(index: index, mid: frame.mid, seq: frame.seq))
            if case .first(let scheduled, let isMeasured) = arrival {
                recentAcks += 1
                if isMeasured {
                    results.acked += 1
                    results.deliveriesExpected += recorder.ledger.map.size
                    results.ack.record(now - scheduled)
                }
            }
            answered(index, on: device)
        } else if frame.isMessage {
            let arrival = recorder.record(
                .delivered(frame.tag, device: device.index, mid: frame.mid, seq: frame.seq)
            )
            guard case .first(let scheduled, let isMeasured) = arrival else { return }
            // The sender's own copy carries the cid.
            let isOthers = frame.cid == nil
            if isOthers { recent.record(now - scheduled) }
            guard isMeasured else { return }
            results.delivered += 1
            if isOthers { results.latency.record(now - scheduled) }
        }
    }

    private func answered(_ index: Int, on device: Device) {
        if let place = senders[device.index].unanswered.firstIndex(of: index) {
            senders[device.index].unanswered.remove(at: place)
        }
        release(device.index)
    }

    func received(_ failure: ServerFrame.Failure, on device: Device) {
        errorCount += 1
        if !device.wasDisturbed { results.undisturbedErrors += 1 }
        results.errors[failure.code.rawValue, default: 0] += 1
        guard let cid = failure.cid?.cid, let index = recorder.ledger.index(of: cid, from: device.index) else { return }
        switch failure.code {
        case .rateLimited, .overloaded, .unavailable:
            recorder.record(.repeated(index: index))
            let delay = TimeAmount.milliseconds(failure.retryMilliseconds ?? 1000)
            fleet.eventLoop.assumeIsolated().scheduleTask(in: delay) {
                // A reconnect may have repeated it already, or an answer come.
                if device.isReady, self.senders[device.index].unanswered.contains(index) {
                    self.transmit(index, on: device)
                }
            }
        default:
            recorder.record(.refused(index: index))
            answered(index, on: device)
        }
    }

    func ready(_ ready: ServerFrame.Ready, on device: Device) {
        let isFirst = fleet.arrived(ready, device)
        if !isFirst, ready.mode == .resync { catchUp(device) }
        sendAgain(device)
    }

    func moved(_ ready: ServerFrame.Ready, on device: Device) {
        fleet.moved(ready)
        if ready.mode == .resync { catchUp(device) }
        sendAgain(device)
    }

    private func sendAgain(_ device: Device) {
        for index in senders[device.index].unanswered { transmit(index, on: device) }
        release(device.index)
    }

    /// Takes from history what the socket will not bring any more, as the protocol's resync asks of a client.
    private func catchUp(_ device: Device) {
        recorder.record(.resynced(device: device.index))
        let ledger = recorder.ledger
        let conversation = ledger.map.conversation(of: device.index)
        let seq = ledger.devices[device.index].highestSeq
        let given = device.credentials
        let (eventLoop, bound) = (fleet.eventLoop, NIOLoopBound((self, device), eventLoop: fleet.eventLoop))
        var reader = HistoryReader(
            conversation: ledger.map.conversations[conversation],
            credentials: given,
            gateways: device.seat.gateways,
            gateway: device.gatewayIndex,
            apis: device.seat.gateways.map { ParleyAPI($0.address, group: eventLoop, connections: 1) },
            group: eventLoop,
            deadline: .now() + HistoryCheck.patience
        )
        Task {
            // What cannot be had here is missing at the end, and counts as lost.
            let entries = (try? await reader.read(after: seq)) ?? []
            let credentials = reader.credentials
            for api in reader.apis { await api.shutdown() }
            eventLoop.execute {
                let (scenario, device) = bound.value
                // The device may have got newer ones meanwhile.
                if device.credentials.refreshToken == given.refreshToken { device.credentials = credentials }
                for entry in entries {
                    let arrival = scenario.recorder.record(
                        .caughtUp(entry.tag, device: device.index, mid: entry.mid, seq: entry.seq)
                    )
                    if case .first(_, isMeasured: true) = arrival { scenario.results.delivered += 1 }
                }
            }
        }
    }

    func lost(_ device: Device, wasReady: Bool, reason: String, isFinal: Bool) {
        fleet.departed(device, wasReady: wasReady, reason: reason, isFinal: isFinal)
    }
}
