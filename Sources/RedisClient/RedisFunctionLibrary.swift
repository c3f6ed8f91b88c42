/// A library of Redis functions whose names carry a digest of its source, so that processes of two versions can use
/// one server side by side; or one of functions that people call by plain names, of which the process that connected
/// last brings its version.
///
/// The sources say `@VERSION@` wherever a function's name is registered; the library is loaded under
/// `<name>_<digest>`.
public struct RedisFunctionLibrary: Sendable {
    public let name: String
    public let digest: String
    private let code: String
    private let isVersioned: Bool

    /// - Parameters:
    ///   - sources: Lua without the `#!lua` line; joined in this order.
    ///   - isVersioned: false where names are plain: the library's own too.
    public init(name: String, sources: [String], isVersioned: Bool = true) {
        let joined = sources.joined(separator: "\n")
        // FNV-1a, 64 bits: a stable name, not a defence.
        let hash = joined.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        digest = String(hash, radix: 36)
        self.name = isVersioned ? "\(name)_\(digest)" : name
        self.isVersioned = isVersioned
        code = "#!lua name=\(self.name)\n" + joined.replacing("@VERSION@", with: digest)
    }

    /// The name under which a function is called.
    public func function(_ base: String) -> String { isVersioned ? "\(base)_\(digest)" : base }

    /// Makes sure that the server has this library; to be run on each new connection.
    public func ensure(on handshake: RedisHandshake) async throws {
        let list = ["FUNCTION", "LIST", "LIBRARYNAME", name] + (isVersioned ? [] : ["WITHCODE"])
        let found = try await handshake.send(RedisCommand(list)).array?.first?.array
        guard isVersioned ? found == nil : !(found ?? []).contains(where: { $0.string == code }) else { return }
        let load = ["FUNCTION", "LOAD"] + (isVersioned ? [] : ["REPLACE"]) + [code]
        do {
            _ = try await handshake.send(RedisCommand(load))
        } catch let error as RedisError {
            // Another connection was quicker.
            guard case .server(let answer) = error.code, answer.message.contains("already exists") else { throw error }
        }
    }
}
