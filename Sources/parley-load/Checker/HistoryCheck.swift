import NIOCore
import ParleyClient
import ParleyWire

/// Reads conversations back over HTTP once a run is over.
struct HistoryCheck {
    /// A conversation, and the device that reads it.
    struct Reading: Sendable {
        var conversation: Int
        var id: ConversationID
        var credentials: Credentials
        var gateways: [Target]
        var gateway: Int
    }

    /// Conversations read at most; above that a random sample.
    static let sample = 2_000
    /// Readers at once.
    static let window = 16
    /// For as long as gateways that were killed may take to come back.
    static let patience = TimeAmount.seconds(30)

    let group: any EventLoopGroup

    /// - Parameter record: takes each conversation's history, whole and oldest first.
    func run(
        _ readings: [Reading],
        record: @escaping @Sendable ([HistoryEntry], _ conversation: Int) async throws -> Void
    ) async throws {
        guard let gateways = readings.first?.gateways else { return }
        let apis = gateways.map { ParleyAPI($0.address, group: group, connections: Self.window) }
        let chosen = readings.count > Self.sample ? Array(readings.shuffled().prefix(Self.sample)) : readings
        let deadline = NIODeadline.now() + Self.patience
        let result: Result<Void, any Error>
        do {
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for worker in 0..<min(Self.window, chosen.count) {
                    tasks.addTask { [group] in
                        for place in stride(from: worker, to: chosen.count, by: Self.window) {
                            let reading = chosen[place]
                            var reader = HistoryReader(
                                conversation: reading.id,
                                credentials: reading.credentials,
                                gateways: reading.gateways,
                                gateway: reading.gateway,
                                apis: apis,
                                group: group,
                                deadline: deadline
                            )
                            try await record(reader.read(after: 0), reading.conversation)
                        }
                    }
                }
                try await tasks.waitForAll()
            }
            result = .success(())
        } catch {
            result = .failure(error)
        }
        for api in apis { await api.shutdown() }
        try result.get()
    }
}
