import Logging

/// Finishes the deletions whose gateway died, and makes sure of the others.
struct DeletionSweeper: Sweeper {
    let deletion: AccountDeletion
    let logger: Logger

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
