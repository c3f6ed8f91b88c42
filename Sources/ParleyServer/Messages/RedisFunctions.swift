import RedisClient

/// The library of functions that the message path calls; see the .lua files beside the code that uses them.
enum RedisFunctions {
    static let library = RedisFunctionLibrary(
        name: "parley",
        sources: [
            PackageResources.Records_lua, PackageResources.Queues_lua, PackageResources.Push_lua,
            PackageResources.Commit_lua, PackageResources.Delivery_lua,
            PackageResources.Devices_lua, PackageResources.Presence_lua, PackageResources.Sync_lua,
            PackageResources.Epoch_lua, PackageResources.Groups_lua, PackageResources.Receipts_lua,
            PackageResources.Relations_lua, PackageResources.Mute_lua, PackageResources.Workers_lua,
            PackageResources.Limits_lua, PackageResources.Discovery_lua, PackageResources.Suggest_lua,
            PackageResources.Searches_lua, PackageResources.Trending_lua,
        ].map { String(decoding: $0, as: UTF8.self) }
    )

    /// A call of a function, its keys and arguments to follow.
    static func call(_ function: String, keys: [String], _ arguments: [String], readOnly: Bool = false) -> RedisCommand
    {
        RedisCommand(
            [readOnly ? "FCALL_RO" : "FCALL", library.function(function), String(keys.count)] + keys + arguments
        )
    }
}
