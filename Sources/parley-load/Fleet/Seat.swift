import NIOCore
import ParleyClient
import ParleyWire

/// A gateway to connect to, its name resolved.
struct Target: Sendable {
    let address: GatewayAddress
    let socketAddress: SocketAddress

    init(url: String) throws(ClientError) {
        address = try GatewayAddress(url)
        socketAddress = try address.resolve()
    }
}

/// Who connects, from where and to which gateway.
struct Seat: Sendable {
    let user: UserID
    /// As they were at first; the device has the present ones.
    let token: String
    let refreshToken: String
    let device: DeviceID
    /// How somebody who only listens gets their messages; nil for one who may write too, by a socket.
    var listens: Receive?
    /// All there are, and which of them to begin with.
    let gateways: [Target]
    let home: Int
    /// Nil leaves it to the system.
    let localAddress: SocketAddress?

    /// One source address holds so many connections towards a gateway with room to spare.
    static let seatsPerSource = 5_000

    /// The source for that seat: 127.0.0.2 and up once one address could run short of ports, towards loopback alone.
    static func localAddress(seat: Int, of total: Int, to gateway: Target) -> SocketAddress? {
        guard total > seatsPerSource, gateway.address.isLoopback else { return nil }
        return try? SocketAddress(ipAddress: "127.0.0.\(2 + seat / seatsPerSource % 250)", port: 0)
    }
}
