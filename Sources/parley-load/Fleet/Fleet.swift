import NIOCore
import ParleyClient
import ParleyWire

/// The devices of a scenario. Connects them a few at a time and counts what becomes of them.
final class Fleet {
    /// Handshakes under way at once.
    static let window = 64
    /// Attempts of a device at its first connection before the run gives up.
    static let attempts = 5

    let eventLoop: any EventLoop
    private(set) var devices: [Device] = []
    private(set) var counts = Counts()
    private var next = 0
    private var hasArrived: [Bool] = []
    private var failures: [Int: Int] = [:]
    private var waiting: EventLoopPromise<Void>?

    struct Counts: Codable, Sendable {
        var devices = 0
        var connected = 0
        /// Devices that were signed in at least once.
        var arrived = 0
        /// Attempts at a first connection that came to nothing.
        var failures = 0
        /// Ends of signed-in connections that nobody here asked for.
        var unexpectedCloses = 0
        /// Times a device was told to take what it missed from history.
        var resyncs = 0
        var lastReason: String?

        static func += (left: inout Counts, right: Counts) {
            left.devices += right.devices
            left.connected += right.connected
            left.arrived += right.arrived
            left.failures += right.failures
            left.unexpectedCloses += right.unexpectedCloses
            left.resyncs += right.resyncs
            left.lastReason = right.lastReason ?? left.lastReason
        }
    }

    init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    var pingsAnswered: Int { devices.reduce(0) { $0 + $1.pingsAnswered } }
    var bytesReceived: Int { devices.reduce(0) { $0 + $1.bytesReceived } }
    var bytesSent: Int { devices.reduce(0) { $0 + $1.bytesSent } }
    var requests: Int { devices.reduce(0) { $0 + $1.requests } }

    func add(_ seats: [Seat], owner: any DeviceOwner) {
        devices = seats.enumerated().map { index, seat in
            guard let receive = seat.listens, receive.isPolling else {
                return Device(index: index, seat: seat, owner: owner, eventLoop: eventLoop)
            }
            return PollingDevice(index: index, seat: seat, receive: receive, owner: owner, eventLoop: eventLoop)
        }
        hasArrived = Array(repeating: false, count: seats.count)
        counts.devices = seats.count
    }

    /// Connects all devices; fails with the reason when one does not get in.
    func connectAll() -> EventLoopFuture<Void> {
        guard !devices.isEmpty else { return eventLoop.makeSucceededVoidFuture() }
        let promise = eventLoop.makePromise(of: Void.self)
        waiting = promise
        for _ in 0..<min(Self.window, devices.count) { connectNext() }
        return promise.futureResult
    }

    private func connectNext() {
        guard next < devices.count else { return }
        next += 1
        devices[next - 1].connect()
    }

    /// - Returns: whether it is the device's first time.
    @discardableResult
    func arrived(_ ready: ServerFrame.Ready, _ device: Device) -> Bool {
        counts.connected += 1
        guard !hasArrived[device.index] else {
            moved(ready)
            return false
        }
        hasArrived[device.index] = true
        counts.arrived += 1
        connectNext()
        if counts.arrived == devices.count { finish(nil) }
        return true
    }

    func moved(_ ready: ServerFrame.Ready) {
        if ready.mode == .resync { counts.resyncs += 1 }
    }

    /// A device left of its own.
    func left() { counts.connected -= 1 }

    func departed(_ device: Device, wasReady: Bool, reason: String, isFinal: Bool) {
        counts.lastReason = reason
        if wasReady {
            counts.connected -= 1
            counts.unexpectedCloses += 1
            return
        }
        guard waiting != nil else { return }
        counts.failures += 1
        failures[device.index, default: 0] += 1
        if isFinal || failures[device.index] == Self.attempts {
            finish(ClientError(.connectionFailed, reason))
        }
    }

    private func finish(_ error: ClientError?) {
        let promise = waiting
        waiting = nil
        if let error { promise?.fail(error) } else { promise?.succeed() }
    }

    func closeAll() {
        devices.forEach { $0.close() }
    }
}
