import ParleyCore
import ParleyWire
import RedisClient

/// Waits until a commit has reached the level that this deployment acknowledges at.
struct Acknowledger: Sendable {
    let redis: RedisClient
    let positions: ArchivePositions

    private static let patience = Duration.seconds(10)

    /// - Returns: whether the level was reached in time.
    func wait(for mid: MessageID, _ level: GatewayConfiguration.Acknowledgement) async -> Bool {
        switch level {
        case .committed: true
        case .replicated: await isReplicated()
        case .archived: await isArchived(mid)
        }
    }

    /// WAIT speaks for the writes of its own connection; a write here after the commit makes it cover the commit too.
    private func isReplicated() async -> Bool {
        guard let connection = redis.connections.randomElement() else { return false }
        _ = try? await connection.send(RedisCommand("PUBLISH", "replicated", ""))
        let answer = try? await connection.send(RedisCommand("WAIT", "1", "3000"))
        return (answer?.integer ?? 0) >= 1
    }

    private func isArchived(_ mid: MessageID) async -> Bool {
        let lane = Lane(number: mid.lane)
        let deadline = ContinuousClock.now + Self.patience
        while ContinuousClock.now < deadline {
            if let position = try? await positions.position(of: lane), position >= mid.rawValue { return true }
            guard (try? await Task.sleep(for: .milliseconds(25))) != nil else { return false }
        }
        return false
    }
}
