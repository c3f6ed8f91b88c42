import Logging
import RedisClient
import ServiceLifecycle
import Synchronization

/// The running gateways, each under a lease in Redis: `gateway:<name>`, a hash that expires.
final class GatewayRegistry: Sendable {
    /// A gateway as others and clients see it.
    struct Entry: Sendable, Hashable {
        let name: String
        let url: String
        let zone: String
        let sessions: Int
        let capacity: Int

        /// Share of the capacity that is taken.
        var load: Double { capacity > 0 ? Double(sessions) / Double(capacity) : 1 }
    }

    private let redis: RedisClient
    private let known = Mutex<[Entry]>([])

    private static let index = "gateways"
    /// Seconds that an entry outlives its last renewal.
    private static let lease = 5

    init(redis: RedisClient) { self.redis = redis }

    /// As of about a second ago.
    var entries: [Entry] { known.withLock { $0 } }

    func renew(_ entry: Entry) async throws {
        let key = "gateway:\(entry.name)"
        _ = try await redis.send(
            "HSET",
            key,
            "url",
            entry.url,
            "zone",
            entry.zone,
            "sessions",
            "\(entry.sessions)",
            "capacity",
            "\(entry.capacity)",
            repeatable: true
        )
        _ = try await redis.send("EXPIRE", key, "\(Self.lease)", repeatable: true)
        _ = try await redis.send("SADD", Self.index, entry.name, repeatable: true)
    }

    func withdraw(_ name: String) async throws {
        _ = try await redis.send("SREM", Self.index, name, repeatable: true)
        _ = try await redis.send("DEL", "gateway:\(name)", repeatable: true)
    }

    /// Reads all entries; names whose lease has ended leave the index.
    func refresh() async throws {
        var entries: [Entry] = []
        for name in (try await redis.send("SMEMBERS", Self.index).array ?? []).compactMap(\.string).sorted() {
            let fields =
                try await redis.send("HMGET", "gateway:\(name)", "url", "zone", "sessions", "capacity").array ?? []
            guard fields.count == 4, let url = fields[0].string else {
                _ = try await redis.send("SREM", Self.index, name, repeatable: true)
                continue
            }
            entries.append(
                Entry(
                    name: name,
                    url: url,
                    zone: fields[1].string ?? "",
                    sessions: Int(fields[2].integer ?? 0),
                    capacity: Int(fields[3].integer ?? 0)
                )
            )
        }
        known.withLock { [entries] in $0 = entries }
    }
}

/// Keeps this gateway in the registry and the registry's picture fresh.
struct Registration: Service {
    let registry: GatewayRegistry
    let services: GatewayServices

    func run() async throws {
        let configuration = services.configuration
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled, !services.isDraining {
                do {
                    try await registry.renew(
                        .init(
                            name: configuration.name,
                            url: configuration.publicURL,
                            zone: configuration.zone,
                            sessions: services.sessionCount,
                            // Nobody is sent to where there are no sockets; pages of its origin may connect.
                            capacity: configuration.serves == .api ? 0 : configuration.capacity
                        )
                    )
                    try await registry.refresh()
                    services.origins.setGateways(registry.entries.map(\.url))
                } catch {
                    if !Task.isCancelled {
                        services.logger.warning("registry unavailable", metadata: ["error": "\(error)"])
                    }
                }
                try? await Task.sleep(for: .seconds(1))
            }
        }
    }
}

/// The order in which a client should try gateways.
enum GatewayChoice {
    /// Those of the client's zone first; among equals the less loaded of two drawn at random, again and again, so that
    /// many clients at once spread (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).
    static func order(
        _ entries: [GatewayRegistry.Entry],
        zone: String?,
        using generator: inout some RandomNumberGenerator
    ) -> [GatewayRegistry.Entry] {
        let entries = entries.filter { $0.capacity > 0 }
        let (near, far) = (entries.filter { $0.zone == zone }, entries.filter { $0.zone != zone })
        return [near, far].flatMap { group in
            var rest = group
            var ordered: [GatewayRegistry.Entry] = []
            while !rest.isEmpty {
                let one = Int.random(in: rest.indices, using: &generator)
                var other = Int.random(in: rest.indices, using: &generator)
                if other == one { other = (one + 1) % rest.count }
                ordered.append(rest.remove(at: rest[one].load <= rest[other].load ? one : other))
            }
            return ordered
        }
    }
}
