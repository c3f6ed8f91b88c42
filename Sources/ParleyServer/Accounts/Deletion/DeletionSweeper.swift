import Logging
import ServiceLifecycle

/// Finishes the deletions whose gateway died, and makes sure of the others.
struct DeletionSweeper: Service {
    let deletion: AccountDeletion
    let logger: Logger

    private static let pause = Duration.seconds(2)

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await sweep()
                } catch {
                    logger.warning("deletions not looked for", metadata: ["error": "\(error)"])
                }
                try? await Task.sleep(for: Self.pause)
            }
        }
    }

    func sweep() async throws {
        for due in try await deletion.store.dueDeletions() {
            do {
                try await deletion.pass(due)
            } catch {
                // The next round tries again.
                logger.warning("deletion not finished", metadata: ["user": "\(due.user)", "error": "\(error)"])
            }
        }
    }
}
