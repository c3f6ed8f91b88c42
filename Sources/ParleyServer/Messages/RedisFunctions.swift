import Foundation
import RedisClient

/// The library of functions that the message path calls; see the .lua files beside the code that uses them.
enum RedisFunctions {
    static let library = RedisFunctionLibrary(
        name: "parley",
        sources: ["Commit", "Delivery", "Sync", "Epoch"].map { resource($0, "lua") }
    )

    /// A call of a function, its keys and arguments to follow.
    static func call(_ function: String, keys: [String], _ arguments: [String], readOnly: Bool = false) -> RedisCommand {
        RedisCommand(
            [readOnly ? "FCALL_RO" : "FCALL", library.function(function), String(keys.count)] + keys + arguments
        )
    }
}

/// The text of a file that ships with this module.
func resource(_ name: String, _ fileExtension: String, in directory: String? = nil) -> String {
    guard let url = Bundle.module.url(forResource: name, withExtension: fileExtension, subdirectory: directory),
        let text = try? String(contentsOf: url, encoding: .utf8)
    else { preconditionFailure("\(name).\(fileExtension) is missing from the bundle beside the executable") }
    return text
}
