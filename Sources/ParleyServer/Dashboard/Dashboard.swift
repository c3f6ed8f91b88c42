import Logging
import ParleyCore
import RedisClient

/// What people ask redis-cli: functions that only read, and answer lines of text.
///
/// They are typed by hand, so their names carry no version, and one version is there at a time. Each is safe beside
/// processes of another version: it changes nothing, and shows `-` for what it does not find.
enum Dashboard {
    static let library = RedisFunctionLibrary(
        name: "parley",
        sources: ["local LANES, USER_SHARDS = \(Lane.count), \(UserShard.count)"]
            + [
                PackageResources.Records_lua, PackageResources.Text_lua, PackageResources.Cluster_lua,
                PackageResources.Top_lua, PackageResources.People_lua, PackageResources.Senders_lua,
            ].map { String(decoding: $0, as: UTF8.self) },
        isVersioned: false
    )

    /// To be run on each new connection. One that cannot have it serves without: a full Redis takes no functions.
    static func offer(on handshake: RedisHandshake, logger: Logger) async {
        do {
            try await library.ensure(on: handshake)
        } catch {
            logger.warning("Redis has no functions to look inside", metadata: ["error": "\(error)"])
        }
    }
}
