import NIOCore
import ParleyWire
import RedisClient
import Synchronization

/// The running gateways, each under a lease in Redis: `gateway:<name>`, a hash that expires by Redis's clock.
///
/// A name belongs to the process that has it in force. Which process that is says a random `instance`.
final class GatewayRegistry: Sendable {
    private struct Picture {
        var entries: [GatewayEntry] = []
        /// When this gateway's entry was last renewed and all others were read; nil before the first time.
        var asOf: NIODeadline?
    }

    /// How long an entry outlives its last renewal.
    static let lease = TimeAmount.seconds(3)

    private let redis: RedisClient
    private let instance = randomName()
    private let started = NIODeadline.now()
    private let picture = Mutex(Picture())

    private static let index = "gateways"

    /// - Parameter redis: the one for what may be lost.
    init(redis: RedisClient) { self.redis = redis }

    /// All gateways as they were last seen, however long ago.
    var entries: [GatewayEntry] { picture.withLock { $0.entries } }

    /// Whether this gateway stands in the registry, and knows who else does.
    var isCurrent: Bool { picture.withLock { ($0.asOf ?? .distantPast) + Self.lease > .now() } }

    /// Writes this gateway's entry and reads all others.
    /// - Returns: false if another process has the name: nothing is written then.
    func renew(_ entry: GatewayEntry) async throws -> Bool { try await renew(entry.name, entry.fields) }

    /// Takes the name, without being offered to anybody yet.
    /// - Returns: as ``renew(_:)``.
    func claim(_ name: String) async throws -> Bool { try await renew(name, []) }

    private func renew(_ name: String, _ fields: [String]) async throws -> Bool {
        let began = NIODeadline.now()
        let times = [Self.lease, began - started].map { "\($0.nanoseconds / 1_000_000)" }
        let command = RedisFunctions.call("renew_gateway", keys: keys(name), [name, instance] + times + fields)
        guard let answer = try await redis.send(command, repeatable: true).array else { return true }
        guard answer.first?.string == instance else { return false }
        let entries = answer.dropFirst().compactMap { gateway -> GatewayEntry? in
            let parts = gateway.array?.map { $0.string ?? "" } ?? []
            return parts.isEmpty ? nil : GatewayEntry(name: parts[0], fields: Array(parts.dropFirst()))
        }.sorted { $0.name < $1.name }
        picture.withLock { $0 = Picture(entries: entries, asOf: began) }
        return true
    }

    func leave(_ name: String) async throws {
        _ = try await redis.send(
            RedisFunctions.call("remove_gateway", keys: keys(name), [name, instance]),
            repeatable: true
        )
    }

    private func keys(_ name: String) -> [String] { [Self.index, "gateway:\(name)"] }
}
