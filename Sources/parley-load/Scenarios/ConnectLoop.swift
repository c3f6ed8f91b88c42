import NIOCore
import ParleyClient
import ParleyWire

/// Idle sessions on one event loop: signed in, heartbeats answered, nothing sent.
final class ConnectLoop: DeviceOwner {
    let fleet: Fleet
    private var arrived: [Bool]

    init(seats: [Seat], eventLoop: any EventLoop) {
        fleet = Fleet(eventLoop: eventLoop)
        arrived = Array(repeating: false, count: seats.count)
        fleet.add(seats, owner: self)
    }

    func received(_ frame: FrameScan, on device: Device) {}

    func received(_ failure: ServerFrame.Failure, on device: Device) {}

    func ready(_ ready: ServerFrame.Ready, on device: Device) {
        fleet.arrived(ready, isFirst: !arrived[device.index])
        arrived[device.index] = true
    }

    func lost(_ device: Device, wasReady: Bool, reason: String, isFinal: Bool) {
        fleet.departed(device, wasReady: wasReady, reason: reason, isFinal: isFinal)
    }
}
