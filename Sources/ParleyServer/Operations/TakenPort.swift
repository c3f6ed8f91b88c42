import NIOCore

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Runs a server, and says it for a person when its port is taken.
/// - Throws: `Settings.Problem` then, which names the variable that chooses another.
func explainingTakenPort(_ port: Int, _ variable: String, _ body: () async throws -> Void) async throws {
    do {
        try await body()
    } catch let error as IOError where error.errnoCode == EADDRINUSE {
        throw Settings.Problem("Port \(port) is taken. Set \(variable).")
    }
}
