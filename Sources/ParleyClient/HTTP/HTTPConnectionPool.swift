import NIOCore

/// At most `limit` connections to one gateway; whoever comes later waits in line.
actor HTTPConnectionPool {
    private let address: GatewayAddress
    private let group: any EventLoopGroup
    private let limit: Int
    private var idle: [HTTPConnection] = []
    private var inUse = 0
    private var waiting: [CheckedContinuation<Void, Never>] = []
    private var isShutDown = false

    init(address: GatewayAddress, group: any EventLoopGroup, limit: Int) {
        self.address = address
        self.group = group
        self.limit = limit
    }

    /// - Returns: the connection, and whether it has served before: such a one may have ended unnoticed.
    func acquire() async throws(ClientError) -> (HTTPConnection, isReused: Bool) {
        if inUse >= limit {
            // Whoever releases hands over its place, so that the count stays.
            await withCheckedContinuation { waiting.append($0) }
        } else {
            inUse += 1
        }
        guard !isShutDown else {
            leave()
            throw ClientError(.closed, "the HTTP client was shut down")
        }
        while let connection = idle.popLast() {
            if connection.isActive { return (connection, true) }
        }
        do throws(ClientError) {
            return (try await HTTPConnection.connect(to: address, group: group), false)
        } catch {
            leave()
            throw error
        }
    }

    func release(_ connection: HTTPConnection, reusable: Bool) {
        if reusable, !isShutDown { idle.append(connection) } else { connection.close() }
        leave()
    }

    private func leave() {
        if waiting.isEmpty { inUse -= 1 } else { waiting.removeFirst().resume() }
    }

    func shutdown() {
        isShutDown = true
        idle.forEach { $0.close() }
        idle = []
    }
}
