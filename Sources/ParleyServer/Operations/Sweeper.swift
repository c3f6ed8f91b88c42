import Logging
import ServiceLifecycle

/// Looks for what others left undone, again and again until its process ends. Several processes may do so at once.
protocol Sweeper: Service {
    /// Between two rounds; two seconds unless one says otherwise.
    static var pause: Duration { get }

    var logger: Logger { get }

    /// One round; what fails is left to the next one.
    func sweep() async throws
}

extension Sweeper {
    static var pause: Duration { .seconds(2) }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await sweep()
                } catch {
                    if !Task.isCancelled {
                        logger.warning("not swept", metadata: ["by": "\(Self.self)", "error": "\(error)"])
                    }
                }
                try? await Task.sleep(for: Self.pause)
            }
        }
    }
}
