/// A library of Redis functions whose names carry a digest of its source, so that processes of two versions can use
/// one server side by side.
///
/// The sources say `@VERSION@` wherever a function's name is registered; the library is loaded under
/// `<name>_<digest>`.
public struct RedisFunctionLibrary: Sendable {
    public let name: String
    public let digest: String
    private let code: String

    /// - Parameter sources: Lua without the `#!lua` line; joined in this order.
    public init(name: String, sources: [String]) {
        let joined = sources.joined(separator: "\n")
        // FNV-1a, 64 bits: a stable name, not a defence.
        let hash = joined.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        digest = String(hash, radix: 36)
        self.name = "\(name)_\(digest)"
        code = "#!lua name=\(self.name)\n" + joined.replacing("@VERSION@", with: digest)
    }

    /// The name under which a function is called.
    public func function(_ base: String) -> String { "\(base)_\(digest)" }

    /// Makes sure that the server has this library; to be run on each new connection.
    public func ensure(on handshake: RedisHandshake) async throws {
        let found = try await handshake.send(RedisCommand("FUNCTION", "LIST", "LIBRARYNAME", name))
        guard found.array?.isEmpty ?? true else { return }
        do {
            _ = try await handshake.send(RedisCommand("FUNCTION", "LOAD", code))
        } catch let error as RedisError {
            // Another connection was quicker.
            guard case .server(let answer) = error.code, answer.message.contains("already exists") else { throw error }
        }
    }
}
